"""A lock as text: one spelling for one lock, in blocks that a diff shows line by line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelbuild.base.scalars import flow, quoted, rounded
from modelbuild.lockfile.values import VERSION, Lock, Onnx

_HEAD = (
    "# Written by `modelbuild build --lock`; `modelbuild build --locked` holds to it. Not edited by hand.\n"
)
_PLAIN = re.compile(r"(?!.{200})[\w./](?:[\w./+@=-]|:(?=\w)| (?=[\w./]))*", re.ASCII)


def render(lock: Lock) -> str:
    """The file's text: one spelling for one lock, in blocks that a diff shows line by line."""
    return _HEAD + f"lock: {VERSION}\n" + "".join(_block(dataclasses.asdict(lock), 0))


def _block(values: Mapping[str, Any], depth: int) -> Iterator[str]:
    for name, value in values.items():
        if depth == 0 and value is None:
            continue  # a lock file from before there was such a key
        key = f"{'  ' * depth}{_word(name)}:"
        if isinstance(value, dict) and value and depth < 2:
            yield f"{key}\n"
            yield from _block(value, depth + 1)
        elif depth < 2 or not _is_default(name, value):
            yield f"{key} {flow(value, _word, rounded)}\n"


def _is_default(name: str, value: Any) -> bool:
    """Whether an artifact's entry goes without saying: no weights beside it, nothing kept."""
    return any(f.name == name and f.default == value for f in dataclasses.fields(Onnx))


def _word(text: str) -> str:
    """Text as a YAML scalar, in quotes if it would be read as something else without."""
    return quoted(text, _PLAIN)
