"""The files that a recipe depends on: those that it names, its code, and those in its lock file."""

from __future__ import annotations

import glob
import itertools
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelbuild.base import globs
from modelbuild.base.errors import Diagnostic
from modelbuild.changes.review.bounds import Clock
from modelbuild.changes.review.effects import Role
from modelbuild.changes.review.sides import inside
from modelbuild.recipe.problems import clean
from modelbuild.recipe.schema import Recipe

OUTSIDE: Final = "outside-repository"

_IMPORT = re.compile(r"[\w.]{1,200}:[\w.]{1,200}")  # a module of n parts may be n files
_NUMBERED = re.compile(r" \(\d+\)$")  # how a lock file tells files of one name apart


@dataclass(frozen=True)
class Named:
    """A name or a pattern in a recipe, relative to it; ``route`` is where it stands."""

    role: Role
    route: str
    text: str
    pattern: bool = False

    @property
    def is_code(self) -> bool:
        return self.route in ("model.import", "verify.function")


def named(recipe: Recipe) -> Iterator[Named]:
    """What the recipe itself names: weights, files, data, and the modules of its code."""
    model = recipe.model
    if model.weights:
        yield Named("model", "model.weights", model.weights.file)
    if model.onnx:
        yield Named("model", "model.onnx", model.onnx)
        yield Named("model", "model.onnx", model.onnx + ".data")
    yield from (Named("model", "model.files", text, True) for text in model.files)
    yield from (Named("data", "verify.data", text, True) for text in recipe.verify.data)
    for place in _imports([model.import_, *model.args, *model.kwargs.values()]):
        yield from (Named("model", "model.import", path) for path in modules(place))
    if recipe.verify.function:
        yield from (Named("function", "verify.function", path) for path in modules(recipe.verify.function))


@dataclass(frozen=True)
class File:
    """A file that a recipe depends on: its path in the repository, and what it is to the recipe."""

    path: str
    role: Role


def belonging(
    recipe: Recipe,
    folder: str,
    locked: Collection[str],
    files: Collection[str],
    changed: Collection[str],
    reached: Mapping[str, Collection[str]],
    clock: Clock,
) -> dict[str, File]:
    """What the recipe in ``folder`` depends on, by the name that it has there.

    ``locked`` are the files that its lock files name, ``files`` everything that there is. Only what is
    ``changed`` is looked for, and what Python files have ``reached`` of that by their imports.
    """
    found: dict[str, File] = {}
    for one in named(recipe):
        clock.tick()
        for place in _places(folder, one, files):
            if not one.pattern or not glob.has_magic(place):
                if place in changed:
                    found.setdefault(
                        one.text if one.is_code else _label(place, folder), File(place, one.role)
                    )
                for path in reached.get(place, ()):
                    found.setdefault(_label(path, folder), File(path, one.role))
                continue
            fits = globs.fitting(place)
            for path in changed:
                if fits(path.split("/")):
                    found.setdefault(_label(path, folder), File(path, one.role))
    for path in _locked(folder, locked, changed):
        if all(path != file.path for file in found.values()):
            found[_label(path, folder)] = File(path, "model")
    return found


def _locked(folder: str, names: Collection[str], changed: Collection[str]) -> Iterator[str]:
    """The files that a lock file names; of many, it names the folders."""
    for name in names:
        place = inside(folder, _NUMBERED.sub("", name))
        if place is None or name.startswith(".../"):
            continue
        if place.endswith("/*"):
            yield from (path for path in changed if posixpath.dirname(path) == place[:-2])
        elif place in changed:
            yield place


def _label(path: str, folder: str) -> str:
    return posixpath.relpath(path, folder or ".")


def strays(recipe: Recipe, folder: str, where: str) -> Iterator[Diagnostic]:
    """The files that the recipe names and that lie outside the repository."""
    for one in named(recipe):
        beside = one.text == f"{recipe.model.onnx}.data"
        if one.is_code or beside or inside(folder, one.text) is not None:
            continue
        said = f"`{one.route}`: `{clean(one.text)}` lies outside the repository; it was not looked at"
        hint = "keep it in the repository (git-lfs holds large files), or say in the review where it is from"
        yield Diagnostic(OUTSIDE, said, hint, where)


def _places(folder: str, one: Named, files: Collection[str]) -> Iterator[str]:
    """Where in the repository it is; code lies beside the recipe, or at the root, where commands are run."""
    if not one.is_code:
        path = inside(folder, one.text)
        if path is not None:
            yield path
        return
    paths = (posixpath.join(start, one.text) for start in (folder, ""))
    yield from itertools.islice((path for path in paths if path in files), 1)


def _imports(values: Iterable[Any]) -> Iterator[str]:
    """The import paths in a model's arguments, however deep."""
    for value in values:
        if isinstance(value, str) and _IMPORT.fullmatch(value):
            yield value
        elif isinstance(value, dict):
            yield from _imports(value.values())
        elif isinstance(value, list | tuple):
            yield from _imports(value)


def modules(place: str) -> Iterator[str]:
    """The files that an import of ``package.module:attribute`` may read first."""
    parts = place.partition(":")[0].split(".")
    for end in range(1, len(parts) + 1):
        path = "/".join(parts[:end])
        yield f"{path}/__init__.py"
        yield f"{path}.py"
