"""What is wrong with a recipe: a place in its text or in its data, a sentence, a hint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from modelbuild.base.catalogue import Code
from modelbuild.base.escaping import line
from modelbuild.wording import phrases

Key = str | int
Route = tuple[Key, ...]
"""The way from the recipe to a value: ``("engines", 0, "precision")``."""

INVALID: Final = "recipe-invalid"


@dataclass(frozen=True)
class Mark:
    """A stretch of the text, both ends counted from 0; the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Problem:
    """One mistake. ``mark`` says where in the text; without it the place is looked up by ``route``.

    ``needs`` are the other values that the sentence is about, ``"*"`` standing for any key: if one
    of them is broken itself, this problem may be only its echo and is not told.
    """

    route: Route
    message: str
    hint: str
    code: Code = INVALID
    on_key: bool = False
    needs: tuple[Route, ...] = ()
    mark: Mark | None = None


def overlaps(pattern: Route, route: Route) -> bool:
    """Whether one holds the other: the same value, a part of it, or what it is a part of."""
    return all(p in ("*", r) for p, r in zip(pattern, route, strict=False))


def clean(text: str, limit: int = 60) -> str:
    """Text from a recipe, safe to print: one line, nothing that cannot be seen, not too long."""
    return line(text, limit)


def dotted(route: Route) -> str:
    """``engines[0].precision``."""
    text = ""
    for step in route:
        text += f"[{step}]" if isinstance(step, int) else f".{clean(step, 40)}"
    return text.removeprefix(".")


def described(value: Any) -> str:
    """What stands in the recipe, in the words of someone who writes YAML."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"`{str(value).lower()}`"
        case "":
            return "empty text"
        case str():
            return f"text `{clean(value)}`"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return f"`{clean(str(value))}`"


def plain(number: float) -> str:
    """``65504``, not ``65504.0``."""
    return str(int(number)) if abs(number) < 2**64 and number == int(number) else str(number)


def listed(names: Iterable[Any]) -> str:
    """Names of a recipe one after another, each in backticks; the first twenty."""
    return phrases.listed([clean(str(name)) for name in names], 20)
