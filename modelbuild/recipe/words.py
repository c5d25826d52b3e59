"""The kinds of text and number that a recipe holds, with the sentence for each that is refused."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

LARGEST = 2**31 - 1
"""The largest size of an axis: TensorRT's dimensions are int32."""

RECIPE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
IMPORT = (
    r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
)
AXIS = r"^[A-Za-z_][A-Za-z0-9_]*$"
TENSOR = r"^[!-~]+$"
TARGET = r"^sm[0-9]{2,3}$"

PATTERNS = {
    RECIPE_NAME: (
        "a file name",
        "letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
    ),
    IMPORT: ("`package.module:attribute`", "the module, a colon, and the name in it"),
    AXIS: ("the name of an axis", "letters, digits and `_`, beginning with a letter"),
    TENSOR: ("the name of a tensor", "letters, digits and signs; no spaces, nothing beyond ASCII"),
    TARGET: ("a compute capability", "write it like `sm86`"),
}
"""What a text that must match is called, and how to write it."""

_UNITS: dict[str, int] = {"B": 1} | {
    f"{letter}{end}": base**power
    for end, base in (("B", 1000), ("iB", 1024))
    for power, letter in enumerate("KMGT", start=1)
}
SIZE = rf"^([0-9]{{1,15}}) ?({'|'.join(_UNITS)})$"


def refused(expected: str) -> PydanticCustomError:
    """The error for "must be ``expected``, not what stands there"."""
    return PydanticCustomError("expected", "{expected}", {"expected": expected})


def _beyond(limit: str) -> PydanticCustomError:
    return PydanticCustomError("limit", "at most {limit}", {"limit": limit})


def _dimension(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST:
        return value
    if isinstance(value, str) and re.fullmatch(AXIS, value):
        return value
    raise refused("a size or the name of an axis")


def _bytes(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = re.fullmatch(SIZE, value) if isinstance(value, str) else None
    if match and int(match[1]) > 0:
        number, unit = match.groups()
        return int(number) * _UNITS[unit]
    raise refused("a size like `4GiB` or a number of bytes")


def _bounded(place: str) -> str:
    """An import of n parts may read n files, whose names have up to n parts."""
    if len(place) > 1000:
        raise _beyond("1000 characters")
    return place


def _shallow(pattern: str) -> str:
    if pattern.count("/") > 100:
        raise _beyond("100 folders")
    return pattern


def _few(variants: tuple[Any, ...]) -> tuple[Any, ...]:
    """Each costs the same, and a recipe may be anyone's: `status` of as many takes 5 s."""
    if len(variants) > 5000:
        raise _beyond("5000 variants")
    return variants


def _several(value: Any) -> Any:
    return () if value is None else (value,) if isinstance(value, str) else value


def file_alone(value: Any) -> Any:
    """A file by its name alone is the `file` of the mapping."""
    if value == "":
        raise PydanticCustomError("string_too_short", "empty")
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, str):
        return {"file": value}
    raise refused("a file or `{file, key, strip_prefix}`")


def _as_a_set(targets: tuple[str, ...]) -> tuple[str, ...]:
    """Sorted, each once: their order does not matter, so it must not change a key."""
    return tuple(sorted(set(targets), key=lambda target: (len(target), target)))


Text = Annotated[str, Strict(), Field(min_length=1)]
Number = Annotated[float, Strict()]
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Seed = Annotated[int, Strict(), Field(ge=0, le=2**63 - 1)]
Size = Annotated[int, Strict(), Field(ge=1, le=LARGEST)]

RecipeName = Annotated[str, Strict(), Field(pattern=RECIPE_NAME, max_length=100)]
Import = Annotated[str, Strict(), Field(pattern=IMPORT), AfterValidator(_bounded)]
Pattern = Annotated[Text, AfterValidator(_shallow)]
AxisName = Annotated[str, Strict(), Field(pattern=AXIS, max_length=60)]
TensorName = Annotated[str, Strict(), Field(pattern=TENSOR, max_length=200)]
Target = Annotated[str, Strict(), Field(pattern=TARGET)]

Variants = Annotated[tuple[dict[AxisName, Size], ...], AfterValidator(_few)]

Dimension = Annotated[
    int | str,
    PlainValidator(_dimension),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": LARGEST},
                {"type": "string", "pattern": AXIS},
            ]
        }
    ),
]
Bytes = Annotated[
    int,
    PlainValidator(_bytes),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": SIZE},
            ]
        }
    ),
]
Patterns = Annotated[
    tuple[Pattern, ...],
    BeforeValidator(_several),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}},
                {"type": "null"},
            ]
        }
    ),
]
Targets = Annotated[tuple[Target, ...], AfterValidator(_as_a_set)]
