"""Files that a recipe names by patterns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelbuild.base import globs
from modelbuild.base.catalogue import Code
from modelbuild.base.errors import Diagnostic, StepError, about


def matching(base: Path, patterns: Sequence[str], key: str, code: Code) -> tuple[Path, ...]:
    """The files that a recipe's patterns name, sorted within each; relative ones from ``base``.

    Raises:
        StepError: a pattern matches nothing, or looks at too much; ``key`` is where it stands in the recipe.
    """
    found: list[Path] = []
    for number, pattern in enumerate(patterns):
        with about(*key.split("."), number):
            found += [base / name for name in _matching(base, pattern, key, code)]
    return tuple(found)


def _matching(base: Path, pattern: str, key: str, code: Code) -> list[str]:
    # Not joined to the base first: a folder of the user's may be named `net[1]`.
    try:
        hits = globs.matches(pattern, base)
    except globs.TooMuch as error:
        said = f"`{key}`: `{pattern}`: {error}"
        raise StepError(Diagnostic(code, said, "name the folder that is meant")) from error
    if not hits:
        said = f"`{key}`: `{pattern}` matches no file in {base}"
        raise StepError(Diagnostic(code, said, "patterns are relative to the recipe's folder"))
    return hits
