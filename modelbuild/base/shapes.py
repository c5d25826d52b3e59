"""What a value out of a file must be like before anybody uses it: predicates over JSON values.

Nothing is converted and nothing guessed. A file that strangers can write is read through these: what
does not fit is as good as not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Shape = Callable[[Any], bool]

_LONGEST_NAME = 255  # bytes: no file system takes a longer one
_HEX = frozenset("0123456789abcdef")


def anything(_: Any) -> bool:
    return True


def text(value: Any) -> bool:
    """Text that can be written down again: JSON can spell halves of characters, which are none."""
    if type(value) is not str:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def asked(value: Any) -> bool:
    """Text that the system can be asked about."""
    return text(value) and "\0" not in value


def name(value: Any) -> bool:
    """One plain component of a path: it leads nowhere but to a file in its own folder."""
    return (
        text(value)
        and value not in ("", ".", "..")
        and "/" not in value
        and value.isprintable()
        and len(value.encode()) <= _LONGEST_NAME
    )


def sha256(value: Any) -> bool:
    return type(value) is str and len(value) == 64 and _HEX.issuperset(value)


def digest(value: Any) -> bool:
    """As ``keys.digest`` makes them."""
    return type(value) is str and value[:7] == "sha256:" and sha256(value[7:])


def slug(value: Any) -> bool:
    return (
        type(value) is str and 0 < len(value) < 100 and value.isascii() and value.replace("-", "").isalnum()
    )


def count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def number(value: Any) -> bool:
    """Infinity and NaN, too: what was measured may be so."""
    return type(value) is float or (type(value) is int and abs(value) < 1 << 62)


def seconds(value: Any) -> bool:
    return number(value) and 0 <= value < math.inf


def flag(value: Any) -> bool:
    return type(value) is bool


def maybe(shape: Shape) -> Shape:
    return lambda value: value is None or shape(value)


def one_of(*values: Any) -> Shape:
    return lambda value: any(type(value) is type(v) and value == v for v in values)


def rows(shape: Shape) -> Shape:
    return lambda value: type(value) is list and all(map(shape, value))


def mapping(shape: Shape, key: Shape = text) -> Shape:
    return lambda value: type(value) is dict and all(key(k) and shape(v) for k, v in value.items())


def record(must: Mapping[str, Shape], may: Mapping[str, Shape] | None = None, *, open: bool = False) -> Shape:
    """A mapping with these keys: all of ``must``, some of ``may``; others too if it is ``open``."""
    known = {**must, **(may or {})}

    def fits(value: Any) -> bool:
        return (
            type(value) is dict
            and must.keys() <= value.keys()
            and (open or value.keys() <= known.keys())
            and all(shape(value[key]) for key, shape in known.items() if key in value)
        )

    return fits
