"""The lock file beside its recipe."""

from __future__ import annotations

from pathlib import Path

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.lockfile.reading import HINT, INVALID, read
from modelbuild.lockfile.values import Lock
from modelbuild.lockfile.writing import render
from modelbuild.recipe.finding import LOCKS
from modelbuild.recipe.reading import MOST_BYTES
from modelbuild.store import write_atomically


def place(recipe: Path) -> Path:
    """Where the lock file of a recipe is."""
    return recipe.with_suffix(LOCKS[0])


def load(path: Path) -> Lock:
    """The lock file at ``path``.

    Raises:
        RecipeError: ``lock-missing``, or ``lock-invalid`` as ``read`` raises it.
    """
    try:
        with path.open("rb") as file:
            source = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        diagnostic = Diagnostic(
            "lock-missing", "there is no lock file", "`modelbuild build --lock` writes it", str(path)
        )
        raise RecipeError(diagnostic) from None
    except OSError as error:
        why = f"cannot read the lock file: {error.strerror}"
        raise RecipeError(Diagnostic(INVALID, why, HINT, str(path))) from error
    return read(source, str(path))


def save(lock: Lock, path: Path) -> bool:
    """Write the lock file, whole or not at all; False, and nothing is touched, if it says so already."""
    text = render(lock)
    try:
        if path.read_text(encoding="utf-8") == text:
            return False
    except (OSError, ValueError):
        pass  # not there, or damaged: it is written
    write_atomically(path, text)
    return True
