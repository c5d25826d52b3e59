"""How much of a change is looked at: it may come from anybody."""

from __future__ import annotations

import time
from typing import Final

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.recipe.reading import MOST_BYTES

UNFINISHED: Final = "review-unfinished"

FILE = MOST_BYTES + 1
"""Bytes read of a file: one more than a recipe may have, so that a larger one is told."""

RECIPES = 5_000
"""Recipes that one change may touch; a thousand take 4 s."""

SECONDS = 20.0
"""Of the processor: what a machine with other work takes is not the change's fault."""

_WAITING = 6
"""Times as long, on the wall: git works in processes of its own, and may wait for a disk."""


class Clock:
    """Runs from its making; whoever may take long asks it. ``seconds`` are of the processor."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.worked = time.process_time() + seconds
        self.until = time.monotonic() + _WAITING * seconds

    def tick(self) -> None:
        """Raises RecipeError ``review-unfinished`` when the time is over."""
        if time.process_time() > self.worked or time.monotonic() > self.until:
            raise unfinished(f"the comparison took longer than {SECONDS:.0f} s")


def unfinished(why: str) -> RecipeError:
    return RecipeError(Diagnostic(UNFINISHED, why, "name fewer recipes: `modelbuild diff REV -- PATH...`"))
