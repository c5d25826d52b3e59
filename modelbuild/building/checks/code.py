"""Whether the code that a recipe names is there, as far as its files show: each import path, and what
the user's own modules import on the way."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from modelbuild.building.checks.modules import FoundModule, Modules
from modelbuild.building.checks.source import Imported
from modelbuild.recipe.problems import Problem, Route, clean
from modelbuild.recipe.schema import Recipe
from modelbuild.steps.remedies import missing_package
from modelbuild.wording.phrases import did_you_mean

_CODE: Final = "import-failed"
_MOST_FILES = 500  # of one recipe's code
_MOST_PATHS = 200  # of one recipe


def named(recipe: Recipe) -> Iterator[tuple[Route, str]]:
    """Every import path of a recipe, after its place."""
    model = recipe.model
    if model.import_ is not None:
        yield ("model", "import"), model.import_
    yield from _nested(model.args, ("model", "args"))
    yield from _nested(model.kwargs, ("model", "kwargs"))
    if recipe.verify.function is not None:
        yield ("verify", "function"), recipe.verify.function


def _nested(value: Any, route: Route) -> Iterator[tuple[Route, str]]:
    if isinstance(value, dict):
        if isinstance(value.get("import"), str):
            yield (*route, "import"), value["import"]
        for key, inner in value.items():
            yield from _nested(inner, (*route, key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _nested(inner, (*route, number))


def missing_code(recipe: Recipe, modules: Modules) -> Iterator[Problem]:
    """What would fail when this recipe's code is imported."""
    look = _Look(modules)
    told: set[str] = set()
    for route, path in itertools.islice(named(recipe), _MOST_PATHS):
        for message, hint, cause in itertools.islice(look.wrong(path), 10):
            if cause not in told:
                told.add(cause)
                yield Problem(route, message, hint, _CODE)


@dataclass
class _Look:
    """At one recipe's import paths. A sentence, a hint, and the cause, which several paths may share."""

    modules: Modules
    _seen: set[str] = field(default_factory=set)
    _moved: bool = False  # one of the files may change where modules are found

    def wrong(self, path: str) -> Iterator[tuple[str, str, str]]:
        module, _, attribute = path.partition(":")
        missing = self.modules.missing(module)
        if missing is not None:
            near = did_you_mean(missing, self.modules.beside(), "", most=1_000)
            hint = near or (
                "modules beside the recipe and in the current folder are found; others must be installed: "
                + missing_package(missing).partition(": ")[2]
            )
            yield f"there is no module `{clean(missing)}`, which `{path}` names", hint, missing
            return
        found = self.modules.find(module)
        if found is None:
            return
        inside = list(self._imports(path, module))
        yield from inside
        if not inside:
            yield from self._attribute(found, attribute.partition(".")[0])

    def _attribute(self, found: FoundModule, name: str) -> Iterator[tuple[str, str, str]]:
        near = self._lacks(found, name)
        if near is not None:
            said = f"module `{found.name}` has no attribute `{clean(name)}`"
            yield said, near or "check the spelling after the colon", said

    def _imports(self, path: str, module: str) -> Iterator[tuple[str, str, str]]:
        """What is wrong in the user's own files that an import of this module reads, those not seen yet."""
        todo = [module]
        absent: list[tuple[str, str, str]] = []
        while todo and len(self._seen) < _MOST_FILES:
            for found in self._chain(todo.pop()):
                assert found.file is not None
                source = self.modules.source(found.file)
                self._moved |= source.moves_paths and source.wrong is None
                if source.wrong is not None:
                    what, line = source.wrong
                    where = f"{found.file.name}:{line}"
                    yield (
                        f"importing `{path}` fails: {what} ({where})",
                        "mend that line",
                        f"{found.file}:{line}",
                    )
                for row in source.imports:
                    target = _absolute(found, row)
                    if target is None:
                        continue
                    absent += self._row(path, found, row, target)
                    todo.append(target)
                    if row.name is not None:
                        todo.append(f"{target}.{row.name}")
        if not self._moved:
            yield from absent

    def _chain(self, module: str) -> Iterator[FoundModule]:
        """The user's own files that an import of this module runs, packages above first; each once."""
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name in self._seen:
                continue
            found = self.modules.find(name)
            if found is None:
                return
            self._seen.add(name)
            if found.file is not None:
                yield found

    def _row(
        self, path: str, found: FoundModule, row: Imported, target: str
    ) -> Iterator[tuple[str, str, str]]:
        """What is wrong with one import of a file of the user's."""
        assert found.file is not None
        where = f"{found.file.name}:{row.line}"
        missing = self.modules.missing(target)
        if missing is not None and _is_users_to_say(missing, self.modules):
            said = f"importing `{path}` fails: there is no module `{clean(missing)}` ({where})"
            near = did_you_mean(missing, self.modules.beside(), "", most=1_000)
            yield said, near or missing_package(missing), missing
        owner = self.modules.find(target)
        if missing is not None or owner is None or row.name is None or owner.name == found.name:
            return
        near_name = self._lacks(owner, row.name)
        if near_name is not None:
            said = f"importing `{path}` fails: `{owner.name}` has no `{clean(row.name)}` ({where})"
            yield said, near_name or "check the spelling", f"{owner.name}:{row.name}"

    def _lacks(self, found: FoundModule, name: str) -> str | None:
        """The hint where a module of the user's lacks a name for sure; None where it has it, or who knows."""
        if found.file is None or (name.startswith("__") and name.endswith("__")):
            return None
        names = self.modules.source(found.file).names
        if names is None or name in names or self.modules.find(f"{found.name}.{name}") is not None:
            return None
        return did_you_mean(name, sorted(names), "", most=10_000)


def _is_users_to_say(missing: str, modules: Modules) -> bool:
    """Of a library, only whether it is there: what it holds, it may make up as it is imported."""
    above, _, _ = missing.rpartition(".")
    owner = modules.find(above) if above else None
    return owner is None or owner.file is not None


def _absolute(found: FoundModule, row: Imported) -> str | None:
    """The module that an import names, from the top; None if it leads above it."""
    if not row.level:
        return row.module
    parts = found.package.split(".") if found.package else []
    if row.level - 1 >= len(parts):
        return None
    return ".".join([*parts[: len(parts) - (row.level - 1)], *filter(None, [row.module])])
