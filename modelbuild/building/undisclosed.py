"""The key that cache entries are signed with is not for a process that runs a model's code."""

from __future__ import annotations

import os

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.machine.environment import SECRETS


def must_be() -> None:
    """Whoever reads this process's environment, or that of a child, must find no key there.

    Raises:
        RecipeError: it has one.
    """
    if found := [name for name in SECRETS if os.environ.get(name)]:
        raise RecipeError(
            Diagnostic(
                "recipe-invalid",
                f"{found[0]} is in the environment, where the model's code could read it",
                "give it to `modelbuild cache push` alone, in a step of its own after the build",
            )
        )
