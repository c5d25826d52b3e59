"""Values of two recipes, in the words of the recipe: ``dynamic_axes.batch.max: 8 -> 16``.

A review of two revisions and the reasons of a build say what moved in these words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild.base.keys import canonical
from modelbuild.base.scalars import flow, quoted, rounded
from modelbuild.recipe.problems import Route, clean, dotted

_ORDERED = (("inputs",), ("dynamic_axes",))  # mappings whose order is part of what is built
_WHOLE = ("shape", "values", "variant")  # keys whose value is told as one
_ANY_ORDER = ("op_block_list", "node_block_list", "targets")  # of which no build sees the order
_SETS = ("static", "profiles", "files", "data", *_ANY_ORDER)
_UNSET = {
    "opset": "the file's own", "outputs": "the exporter's names", "op_block_list": "the default list",
    "profiles": "as dynamic_axes", "optimization_level": "the builder's", "workspace": "the builder's",
    "rtol": "not asked", "atol": "not asked", "relative_l2": "not asked", "cosine": "not asked",
    "sqnr": "not asked",     "mismatch": "not asked", "conditioning": "not asked",
}  # fmt: skip
_LONGEST, _LONGEST_VALUE = 200, 5000
_PLAIN = re.compile(r"""(?!\s)(?:[^{}\[\],#'"\n:]|:(?! ))+(?<!\s)""")  # what a person reads as one word


@dataclass(frozen=True)
class Change:
    """One thing that differs: ``path`` is where, ``said`` the whole of it as a line.

    ``old`` and ``new`` are the two values as JSON.
    """

    path: str
    said: str
    old: Any = None
    new: Any = None

    def as_json(self) -> dict[str, Any]:
        return {"path": self.path, "old": self.old, "new": self.new, "text": self.said}


def moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Everything in which two recipes, or the same part of two, are not the same: values as plain data."""
    return differing(old, new, old, new)


def differing(
    old: Mapping[str, Any], new: Mapping[str, Any], old_brief: Mapping[str, Any], new_brief: Mapping[str, Any]
) -> Iterator[Change]:
    """As ``moved``; ``brief`` is without what is as it is by default, to tell what came or went."""
    return _Differing(old_brief, new_brief).mapping((), old, new)


def inline(value: Any) -> str:
    """A value as YAML on one line, not too long."""
    return clean(flow(value, _word, rounded), _LONGEST)


class _Differing:
    def __init__(self, *brief: Mapping[str, Any]) -> None:
        self.brief = brief  # the old one and the new one

    def value(self, route: Route, old: Any, new: Any) -> Iterator[Change]:
        if _same(old, new) and route not in _ORDERED:
            return
        key = route[-1]
        if isinstance(old, dict) and isinstance(new, dict) and key not in _WHOLE:
            yield from self.mapping(route, old, new)
        elif isinstance(old, list) and isinstance(new, list) and key in _SETS:
            yield from self.collection(route, old, new)
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and key not in _WHOLE:
            for i, (before, after) in enumerate(zip(old, new, strict=True)):
                yield from self.value((*route, i), before, after)
        else:
            words = [_UNSET.get(str(key), "none") if v is None else inline(v) for v in (old, new)]
            if words[0] == words[1]:  # 8 and 8.0
                words = [clean(json.dumps(v), _LONGEST) for v in (old, new)]
            yield _change(route, f"{words[0]} -> {words[1]}", old, new)

    def mapping(self, route: Route, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
        for key in [*old, *(k for k in new if k not in old)]:
            inner = (*route, key)
            if key not in new or (new[key] is None and isinstance(old[key], dict)):
                yield _change(route, f"- {self.entry(0, inner)}", {key: old[key]}, None)
            elif key not in old or (old[key] is None and isinstance(new[key], dict)):
                yield _change(route, f"+ {self.entry(1, inner)}", None, {key: new[key]})
            else:
                yield from self.value(inner, old[key], new[key])
        if route in _ORDERED:
            both = [[k for k in one if k in other] for one, other in ((old, new), (new, old))]
            if both[0] != both[1]:
                said = f"{', '.join(map(clean, old))} -> {', '.join(map(clean, new))}, another order"
                yield _change(route, said, list(old), list(new))

    def collection(self, route: Route, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
        was, now = ([canonical(v) for v in values] for values in (old, new))
        gone, come = _without(old, was, now), _without(new, now, was)
        if len(gone) == len(come) == 1 and isinstance(gone[0], dict) and route[-1] == "profiles":
            yield from self.value((*route, now.index(canonical(come[0]))), gone[0], come[0])
            return
        words = [*(f"- {inline(v)}" for v in gone), *(f"+ {inline(v)}" for v in come)]
        if words:
            yield _change(route, ", ".join(words), list(old), list(new))
        elif route[-1] not in _ANY_ORDER:
            yield _change(route, f"{inline(old)} -> {inline(new)}", list(old), list(new))

    def entry(self, side: int, route: Route) -> str:
        """A key that came or went, with what is said of it."""
        value: Any = self.brief[side]
        for step in route:
            value = value.get(step) if isinstance(value, dict) else None
        name = clean(str(route[-1]))
        return name if value in (None, {}, []) else f"{name}: {inline(value)}"


def _without(values: Iterable[Any], keys: Iterable[str], others: Iterable[str]) -> list[Any]:
    """The values whose key is none of the others."""
    known = set(others)
    return [value for value, key in zip(values, keys, strict=True) if key not in known]


def _same(old: Any, new: Any) -> bool:
    """Whether both are one value: to Python, 1 is true and 1.0."""
    return canonical(old) == canonical(new)


def _change(route: Route, said: str, old: Any, new: Any) -> Change:
    path = dotted(route)
    return Change(path, f"{path}: {said}", _short(old), _short(new))


def _short(value: Any) -> Any:
    """A value for programs; of one that JSON has not, or that is too long to look at, its text."""
    try:
        return value if len(json.dumps(value, allow_nan=False)) < _LONGEST_VALUE else inline(value)
    except ValueError:
        return inline(value)


def _word(text: str) -> str:
    """Text as it can stand in YAML; in quotes where it would be something else without."""
    return quoted(text, _PLAIN)
