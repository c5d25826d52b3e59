"""Checks of the files that a recipe names: that they are there. Nothing is opened.

Globs are not expanded here: ``/**/x`` in a stranger's recipe would walk the whole disk.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from modelbuild.base import links
from modelbuild.base.errors import Diagnostic
from modelbuild.recipe.files import key, named, takes_patterns
from modelbuild.recipe.problems import Problem, clean
from modelbuild.recipe.schema import Recipe
from modelbuild.wording.phrases import did_you_mean


def missing_files(recipe: Recipe, folder: Path) -> Iterator[Problem]:
    """The files named in ``recipe`` that are not there, seen from ``folder``."""
    for route, name in named(recipe):
        if (takes_patterns(route) and glob.has_magic(name)) or _is_file(folder / name):
            continue
        message = f"`{key(route)}`: there is no file `{clean(str(folder / name), 200)}`"
        yield Problem(route, message, _hint(folder, folder / name))


def outside(recipe: Recipe, folder: Path, root: Path) -> Iterator[Diagnostic]:
    """A warning for each file or pattern that leads out of the repository at ``root``."""
    for route, name in named(recipe):
        if not links.leads_into(os.path.join(folder.absolute(), name), str(root)):
            at = f"`{key(route)}`: `{clean(name, 200)}`"
            said = f"{at} lies outside the repository; a build would read it"
            hint = "keep it in the repository, where a review sees it"
            yield Diagnostic("outside-repository", said, hint, level="warning")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def _hint(folder: Path, path: Path) -> str:
    """The name that was meant. A stranger's recipe is not told what there is outside its own folder."""
    try:
        inside = path.parent.resolve().is_relative_to(folder.resolve())
        names = sorted(p.name for p in path.parent.iterdir()) if inside else []
    except (OSError, RuntimeError):  # it is not there; a link that leads to itself
        names = []
    return did_you_mean(path.name, names, "paths are relative to the recipe")
