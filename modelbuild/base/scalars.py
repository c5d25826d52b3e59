"""Words of YAML: what one without quotes means, by YAML 1.2's core schema, and how a text is written.

YAML 1.1, which PyYAML follows, reads ``1e-3`` as text, ``on`` as true, ``010`` as 8 and ``1:30``
as 90. Here ``1e-3`` is a number and ``on`` is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from modelbuild.base.escaping import number as numbered

Scalar = None | bool | int | float | str

LONGEST = 1000
"""Characters in a number. Python itself refuses to print an int of more than 4300 digits."""

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")


def meaning(word: str) -> Scalar:
    """The value of an unquoted scalar.

    Raises:
        ValueError: a number of more than ``LONGEST`` characters.
    """
    if word in _WORDS:
        return _WORDS[word]
    if _NAN.fullmatch(word) or _INFINITY.fullmatch(word):
        return float(word.replace(".", ""))
    number = _FLOAT.fullmatch(word) or _OCTAL.fullmatch(word) or _HEX.fullmatch(word)
    if not number:
        return word
    if len(word) > LONGEST:
        raise ValueError(f"a number of {len(word)} characters")
    if _INTEGER.fullmatch(word):
        return int(word)
    return int(word, 0) if word[1:2] in ("o", "x") else float(word)


EVERYWHERE = re.compile(r"(?!(?i:y|n|yes|no|on|off)$)[A-Za-z_/][A-Za-z0-9_/.+-]*")
"""What needs no quotes for any reader, in blocks and in brackets; YAML 1.1 takes those words for true and
false."""


def quoted(text: str, plain: re.Pattern[str] = EVERYWHERE) -> str:
    """A text as a YAML scalar that is read as it: in quotes, unless it is ``plain`` and means itself."""
    try:
        if plain.fullmatch(text) and meaning(text) == text:
            return text
    except ValueError:  # a number that nobody reads
        pass
    return '"' + "".join(map(_escaped, text)) + '"'


def exact(value: float) -> str:
    """A float as YAML of which every reader makes the same."""
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    digits, e, exponent = repr(value).partition("e")
    return f"{digits}{'' if '.' in digits else '.0'}{e}{exponent}" if e else digits  # 1e-07 is text to PyYAML


def flow(value: Any, word: Callable[[str], str] = quoted, number: Callable[[float], str] = exact) -> str:
    """A value in one line of YAML: ``word`` writes its texts, ``number`` its floats."""
    if isinstance(value, Mapping):
        rows = (f"{word(str(key))}: {flow(inner, word, number)}" for key, inner in value.items())
        return "{" + ", ".join(rows) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(inner, word, number) for inner in value) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float):
        return number(value)
    return word(value) if isinstance(value, str) else str(value)


def rounded(value: float) -> str:
    """A float in as many digits as two computers agree on."""
    return f"{value:.15g}"


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else numbered(letter)
