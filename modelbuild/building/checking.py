"""What can be said of recipes without running a model's code: ``modelbuild check``."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelbuild.base.catalogue import EXIT_STEP_FAILED, EXIT_TOOLCHAIN, EXIT_USAGE, Code, Exit
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.results import BuildResult, RecipeResult
from modelbuild.building import request as requests
from modelbuild.building.checks import around, code, samples
from modelbuild.building.checks.modules import Modules
from modelbuild.building.checks.source import Sources
from modelbuild.building.request import Loaded, Request
from modelbuild.git import Repository
from modelbuild.lockfile import agreement
from modelbuild.machine import toolchain
from modelbuild.recipe import excerpts, file_checks, loading
from modelbuild.recipe.problems import INVALID, Problem, Route
from modelbuild.recipe.reading import Document, read
from modelbuild.recipe.schema import Recipe

_EXITS: Mapping[Code, Exit] = {"backend-missing": EXIT_TOOLCHAIN, "publish-failed": EXIT_STEP_FAILED}
"""How a command ends for an error of this code; for others the recipe is wrong."""


def check(request: Request) -> BuildResult:
    """Everything that can be wrong without running the model's code; with ``locked``, also whether
    each recipe has a lock file that is of it and of the files that are there.

    Raises:
        RecipeError: a path names nothing, or git cannot tell what has changed.
    """
    paths, notes = requests.meant(request)
    found = [requests.checked(path) for path in paths]
    checker = _Checker(request, _taken([(p, r) for p, (r, _) in zip(paths, found, strict=True) if r]))
    done = []
    for path, (recipe, told) in zip(paths, found, strict=True):
        if recipe is not None:
            told = checker.checked(path, recipe, told)
            told = agreement.agreed(path, recipe, told) if request.locked else told
        done.append(told)
    return BuildResult(Loaded(paths, (), notes=notes).in_order(requests.with_runtime(done)))


def _taken(recipes: Sequence[tuple[Path, Recipe]]) -> Mapping[Path, Path]:
    """The recipes whose name another one before them has, and that one."""
    first: dict[str, Path] = {}
    return {p: other for p, recipe in recipes if (other := first.setdefault(recipe.name, p)) != p}


@dataclass
class _Checker:
    """Of one command. ``taken`` are the recipes whose name another one has."""

    request: Request
    taken: Mapping[Path, Path]
    _reader: Sources = field(default_factory=Sources)
    _modules: dict[Path, Modules] = field(default_factory=dict)

    def checked(self, path: Path, recipe: Recipe, told: RecipeResult) -> RecipeResult:
        """What is wrong with a recipe that is well-formed, and what a review does not see of it."""
        root = _root(path.absolute().parent)
        outside = tuple(file_checks.outside(recipe, path.parent, root)) if root else ()
        wrong: tuple[Diagnostic, ...] = ()
        if not loading.leads_elsewhere(path):  # nothing of such a recipe is quoted
            document = functools.cache(lambda: read(loading.source(path)))
            problems = list(itertools.islice(self._problems(path, recipe), excerpts.MOST))
            wrong = excerpts.diagnostics(document(), problems, str(path)) if problems else ()
            wrong += tuple(_placed(d, about, document(), path) for about, d in self._lacking(recipe))
        said = (*told.diagnostics, *outside, *wrong)
        codes = [_EXITS.get(d.code, EXIT_USAGE) for d in wrong if d.level == "error"]
        exit_code = max((told.exit_code, *codes))
        return replace(told, status="failed" if exit_code else "ok", diagnostics=said, exit_code=exit_code)

    def _problems(self, path: Path, recipe: Recipe) -> Iterator[Problem]:
        base = path.absolute().parent
        if path in self.taken:
            said = (
                f"{self.taken[path]} has the name `{recipe.name}`, too, and both would write into one folder"
            )
            yield Problem(("name",), said, "give one of them another `name`", INVALID)
        yield from code.missing_code(recipe, self._modules_at(base))
        yield from around.empty_patterns(recipe, base)
        yield from around.pointers(recipe, base)
        yield from samples.wrong_samples(recipe, base)
        yield from around.unknown_targets(recipe)

    def _modules_at(self, base: Path) -> Modules:
        if base not in self._modules:
            self._modules[base] = Modules(base, Path.cwd(), self._reader)
        return self._modules[base]

    def _lacking(self, recipe: Recipe) -> Iterator[tuple[Route, Diagnostic]]:
        """What this machine lacks, or a build does by itself, each after the part of the recipe that asks."""
        yield from around.raised_opset(recipe)
        if missing := toolchain.missing_runtime():
            yield ("model",), Diagnostic("backend-missing", missing)
        seen: set[str] = set()
        for number, engine in enumerate(recipe.engines):
            if engine.backend not in seen and (missing := _missing_backend(engine.backend)):
                said = f"no engine of it is built here: {missing}"
                yield ("engines", number, "backend"), Diagnostic("backend-missing", said, level="info")
            seen.add(engine.backend)
        folder = self.request.out / recipe.name
        if why := around.unwritable(folder):
            said = f"{folder} cannot be written: {why}"
            yield ("name",), Diagnostic("publish-failed", said, "check the folder; `--out` names another one")


_missing_backend = functools.cache(toolchain.missing_backend)


def _placed(found: Diagnostic, about: Route, document: Document, path: Path) -> Diagnostic:
    mark = document.mark(document.written(about), on_key=True)
    return replace(found, where=f"{path}:{mark.line + 1}:{mark.column + 1}")


@functools.cache
def _root(folder: Path) -> Path | None:
    with contextlib.suppress(RecipeError):
        return Repository.at(folder).root
    return None
