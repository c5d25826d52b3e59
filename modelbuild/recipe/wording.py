"""pydantic's errors in plain English, with the nearest name that exists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from modelbuild.recipe.json_schema import description, known_keys
from modelbuild.recipe.problems import (
    Key,
    Problem,
    Route,
    clean,
    described,
    dotted,
    listed,
    plain,
)
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.part import Part
from modelbuild.recipe.words import PATTERNS
from modelbuild.wording import phrases

_KINDS = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_EXAMPLES: Mapping[Key, str] = {
    "model": "`model: {import: package.module:attribute}`",
    "inputs": "`inputs: {x: {shape: [batch, 3, 224, 224]}}`",
    "shape": "`shape: [batch, 3, 224, 224]`; [] is a scalar",
    **dict.fromkeys(("min", "opt", "max"), "an axis is written `{min: 1, opt: 4, max: 8}`"),
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
}


def route_of(error: ErrorDetails) -> tuple[Route, bool]:
    """Where pydantic met it, and whether it is the key that is wrong."""
    loc = error["loc"]
    if loc and loc[-1] == "[key]" and error["type"].startswith("string"):
        return loc[:-1], True
    return loc, error["type"] == "extra_forbidden"


def meant_keys(errors: Iterable[ErrorDetails], data: Any) -> set[Route]:
    """The keys that misspelt ones stand for: they are neither missing nor at their defaults."""
    meant = set()
    for error in errors:
        if error["type"] == "extra_forbidden":
            route = error["loc"]
            if near := phrases.nearest(str(route[-1]), _free_keys(route, data, Recipe)):
                meant.add((*route[:-1], near))
    return meant


def worded(error: ErrorDetails, data: Any, of: type[Part] = Recipe) -> Problem:
    """The problem that a validation error stands for; ``data`` is the whole that is ``of`` this type."""
    route, on_key = route_of(error)
    hint: str | None
    if error["type"] == "extra_forbidden":
        message, hint = _unknown_key(route, _free_keys(route, data, of))
    elif error["type"] == "missing":
        message, hint = f"missing `{route[-1]}`{_within(route[:-1])}", _EXAMPLES.get(route[-1])
    elif on_key:
        message, hint = _bad_key(str(route[-1]), error)
    else:
        message, hint = _bad_value(f"`{dotted(route)}`", error)
    return Problem(route, message, hint or description(route, of), on_key=on_key)


def _unknown_key(route: Route, free: list[str]) -> tuple[str, str]:
    parent, key = route[:-1], str(route[-1])
    otherwise = f"known here: {listed(free)}" if free else "remove it: every key is there already"
    return f"unknown key `{clean(key)}`{_within(parent)}", phrases.did_you_mean(key, free, otherwise)


def _within(parent: Route) -> str:
    return f" in `{dotted(parent)}`" if parent else ""


def _bad_key(key: str, error: ErrorDetails) -> tuple[str, str | None]:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "string_pattern_mismatch":
        what, rule = PATTERNS[context["pattern"]]
        return f"`{clean(key)}` cannot be {what}", rule
    if kind == "string_too_long":
        return f"`{clean(key)}` is longer than {context['max_length']} characters", "shorten it"
    return "a key is empty", "give it a name"


def _bad_value(name: str, error: ErrorDetails) -> tuple[str, str | None]:
    """The sentence, and a hint where there is a better one than what the value is."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    instead = f"not {described(value)}"
    if kind in _KINDS:
        return f"{name} must be {_KINDS[kind]}, {instead}", _retype(kind, value)
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"{name} must be {words} {plain(context[bound])}, {instead}", None
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        near = phrases.nearest(value, choices) if isinstance(value, str) else None
        return f"{name} must be {_either(choices)}, {instead}", phrases.meant(near)
    if kind == "string_pattern_mismatch":
        what, rule = PATTERNS[context["pattern"]]
        return f"{name} must be {what}, {instead}", rule
    if kind == "expected":
        return f"{name} must be {context['expected']}, {instead}", None
    if kind == "string_too_long":
        return f"{name} is longer than {context['max_length']} characters", "shorten it"
    if kind in ("too_short", "string_too_short"):
        return f"{name} is empty", None
    return f"{name}: {error['msg']}", None


def _either(choices: list[str]) -> str:
    """```a`, `b` or `c```."""
    quoted = [f"`{choice}`" for choice in choices]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]])


def _retype(kind: str, value: Any) -> str | None:
    """How the same value is written so that it has the right type."""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "quote it to make it text"
    if kind == "tuple_type" and isinstance(value, str):
        return f"write `[{clean(value)}]`"
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"write `{value:.0f}`"
    if kind in ("int_type", "float_type") and isinstance(value, str):
        return "remove the quotes" if re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", value) else None
    if kind == "bool_type" and isinstance(value, str):
        word = value.casefold()
        if word in ("yes", "on", "y", "true"):
            return "write `true`"
        return "write `false`" if word in ("no", "off", "n", "false") else None
    return None


def _free_keys(route: Route, data: Any, of: type[Part]) -> list[str]:
    """The keys that the mapping around ``route`` may have and has not."""
    for step in route[:-1]:
        data = data[step]
    return [key for key in known_keys(route[:-1], of) if key not in data]
