"""What can be said of recipes without running a model's code: ``modelbuild check``."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from pathlib import Path

from modelbuild.base.errors import RecipeError
from modelbuild.base.results import BuildResult, RecipeResult
from modelbuild.building import request as requests
from modelbuild.building.request import Loaded, Request
from modelbuild.git import Repository
from modelbuild.lockfile import agreement
from modelbuild.recipe import file_checks
from modelbuild.recipe.schema import Recipe


def check(request: Request) -> BuildResult:
    """Everything that can be wrong without running the model's code; with ``locked``, also whether
    each recipe has a lock file that is of it and of the files that are there.

    Raises:
        RecipeError: a path names nothing, or git cannot tell what has changed.
    """
    paths, notes = requests.meant(request)
    found = [requests.checked(path) for path in paths]
    done = []
    for path, (recipe, told) in zip(paths, found, strict=True):
        if recipe is not None:
            told = _with_outside(path, recipe, told)
            told = agreement.agreed(path, recipe, told) if request.locked else told
        done.append(told)
    return BuildResult(Loaded(paths, (), notes=notes).in_order(done))


def _with_outside(path: Path, recipe: Recipe, told: RecipeResult) -> RecipeResult:
    """What lies outside the recipe's repository, where there is one: nobody reviews that."""
    root = _root(path.absolute().parent)
    said = file_checks.outside(recipe, path.parent, root) if root else ()
    return replace(told, diagnostics=(*told.diagnostics, *said))


@functools.cache
def _root(folder: Path) -> Path | None:
    with contextlib.suppress(RecipeError):
        return Repository.at(folder).root
    return None
