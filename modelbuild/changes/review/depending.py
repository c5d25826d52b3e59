"""The files that a recipe depends on: those that it names, its code, and those in its lock file."""

from __future__ import annotations

import glob
import itertools
import posixpath
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from modelbuild.base import globs
from modelbuild.base.errors import Diagnostic
from modelbuild.changes.naming import Named, Role, locked, named
from modelbuild.changes.review.bounds import Clock
from modelbuild.changes.review.sides import inside
from modelbuild.recipe.problems import clean
from modelbuild.recipe.schema import Recipe

OUTSIDE: Final = "outside-repository"


@dataclass(frozen=True)
class File:
    """A file that a recipe depends on: its path in the repository, and what it is to the recipe."""

    path: str
    role: Role


def belonging(
    recipe: Recipe,
    folder: str,
    in_locks: Collection[str],
    files: Collection[str],
    changed: Collection[str],
    reached: Mapping[str, Collection[str]],
    clock: Clock,
) -> dict[str, File]:
    """What the recipe in ``folder`` depends on, by the name that it has there.

    ``in_locks`` are the files that its lock files name, ``files`` everything that there is. Only what is
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
    for path in _locked(folder, in_locks, changed):
        if all(path != file.path for file in found.values()):
            found[_label(path, folder)] = File(path, "model")
    return found


def _locked(folder: str, names: Collection[str], changed: Collection[str]) -> Iterator[str]:
    """The files that a lock file names; of many, it names the folders."""
    for one in locked(names):
        place = None if one.far else inside(folder, one.path)
        if place is None:
            continue
        if one.folder:
            yield from (path for path in changed if (posixpath.dirname(path) or ".") == place)
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
