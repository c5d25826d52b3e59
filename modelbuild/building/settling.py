"""A command's options, with the environment and the project file behind them; or what is wrong there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelbuild import settings
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.recipe.finding import find
from modelbuild.wording.phrases import nearest

_PREFIX = "MODELBUILD_"


def misspelt(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that nobody reads, and the ones that were probably meant."""
    ours = [name.removeprefix(_PREFIX) for name in settings.VARIABLES]
    found: dict[str, str] = {}
    for name in environment:
        strange = name.startswith(_PREFIX) and name not in settings.VARIABLES
        if strange and (near := nearest(name.removeprefix(_PREFIX), ours, likeness=0.7)):
            found[name] = _PREFIX + near
    return found


def settled(asked: Mapping[str, Any], needs_recipes: bool = False) -> dict[str, Any]:
    """These options (``out``, ``cache_dir``, ``jobs``, ``format``, ``volume``, ``recipes``), with a value for
    each that is None: of the environment, else of the project file of the working folder, else our own.

    Raises:
        RecipeError: a variable or the project file is wrong, or nothing says which recipes are meant
            although a command ``needs_recipes``.
    """
    try:
        found = settings.settled(dict(asked), os.getcwd())
    except settings.Wrong as wrong:
        said = f"the environment variable {wrong.variable} must be {wrong.expected}"
        hint = f"it is `{os.environ[wrong.variable]}`; mend it or unset it"
        raise RecipeError(Diagnostic("recipe-invalid", said, hint)) from None
    except settings.Unsound as unsound:
        from modelbuild.recipe import defaults

        defaults.read(unsound.data, settings.shown(unsound.path))
        raise  # it has another opinion than ours
    if "recipes" in asked and asked["recipes"] is None:
        _must_be_there(found["recipes"], needs_recipes)
    return found


def _must_be_there(recipes: Sequence[str], needed: bool) -> None:
    """Say what to do where the project file names no recipe, or none that is there.

    Raises:
        RecipeError: there is none, although it is ``needed``; or one is not there.
    """
    if not recipes and needed:
        said = "no recipe is named, and no project file says which are meant"
        hint = 'name a recipe, a folder or a glob, or put `recipes = ["configs"]` into [tool.modelbuild]'
        raise RecipeError(Diagnostic("recipe-invalid", said, f"{hint} of pyproject.toml"))
    try:
        find(recipes)
    except RecipeError as error:
        of = "(`recipes` of the project file)"
        raise RecipeError(replace(d, message=f"{d.message} {of}") for d in error.diagnostics) from error
