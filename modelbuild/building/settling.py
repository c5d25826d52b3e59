"""A command's options, with the environment and the project file behind them; or what is wrong there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from modelbuild import settings
from modelbuild.base.errors import Diagnostic, RecipeError
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


def settled(asked: Mapping[str, Any]) -> dict[str, Any]:
    """These options (``out``, ``cache_dir``, ``jobs``, ``format``, ``volume``), with a value for each
    that is None: of the environment, else of the project file of the working folder, else our own.

    Raises:
        RecipeError: a variable or the project file is wrong.
    """
    try:
        return settings.settled(dict(asked), os.getcwd())
    except settings.Wrong as wrong:
        said = f"the environment variable {wrong.variable} must be {wrong.expected}"
        hint = f"it is `{os.environ[wrong.variable]}`; mend it or unset it"
        raise RecipeError(Diagnostic("recipe-invalid", said, hint)) from None
    except settings.Unsound as unsound:
        from modelbuild.recipe import defaults

        defaults.read(unsound.data, settings.shown(unsound.path))
        raise  # it has another opinion than ours
