"""Where the values of a recipe stand in its text: for who edits the text and not the data.

``reading`` gives the data, with places for messages. An edit needs more: what is in braces, where
a block ends without the blank lines and comments behind it, which value is only an alias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import yaml

BREAKS = "\n\r\x85\u2028\u2029"
"""The signs that end a line of YAML."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Place:
    """A value in a text; ``text[start:end]`` is all of it, its anchor included.

    What is written without braces or brackets ends with the last value in it. ``entries`` are a
    mapping's keys and values, ``items`` a sequence's values, both in the order of the text.
    """

    kind: Literal["scalar", "alias", "mapping", "sequence"]
    start: int
    end: int
    column: int
    text: str = ""  # of a scalar: what it says, without quotes
    flow: bool = False  # written with braces or brackets
    anchored: bool = False
    entries: tuple[tuple[Place, Place], ...] = ()
    items: tuple[Place, ...] = ()

    def entry(self, key: str) -> tuple[Place, Place] | None:
        """The key and the value of one entry of a mapping."""
        return next((e for e in self.entries if e[0].kind == "scalar" and e[0].text == key), None)

    @property
    def inner(self) -> tuple[Place, ...]:
        """Every key, value or item right inside, in the order of the text."""
        return self.items or tuple(part for entry in self.entries for part in entry)


def places(text: str) -> Place:
    """The place of the one value that a text is, and of everything in it.

    For a text that ``reading.read`` has found nothing wrong with: its limits are not looked at
    again. Without a byte order mark, which the parser would not count.
    """
    events: Iterator[Any] = iter(yaml.parse(text, Loader=_LOADER))
    next(events)  # the stream begins
    next(events)  # and the document
    return _place(next(events), events, text)


def _place(event: Any, events: Iterator[Any], text: str) -> Place:
    start, end, column = event.start_mark.index, event.end_mark.index, event.start_mark.column
    if isinstance(event, yaml.AliasEvent):
        return Place("alias", start, end, column)
    anchored = event.anchor is not None
    if isinstance(event, yaml.ScalarEvent):
        end = _without_break(text, end) if event.style in ("|", ">") else end
        return Place("scalar", start, end, column, text=event.value, anchored=anchored)
    parts: list[Place] = []
    ended = next(events)
    while not isinstance(ended, yaml.CollectionEndEvent):
        parts.append(_place(ended, events, text))
        ended = next(events)
    flow = bool(event.flow_style)
    end = ended.end_mark.index if flow and ended.end_mark else parts[-1].end
    if isinstance(event, yaml.SequenceStartEvent):
        return Place("sequence", start, end, column, flow=flow, anchored=anchored, items=tuple(parts))
    entries = tuple(zip(parts[::2], parts[1::2], strict=True))
    return Place("mapping", start, end, column, flow=flow, anchored=anchored, entries=entries)


def _without_break(text: str, end: int) -> int:
    """The end without the line break that a block of text, with its ``|`` or ``>``, ends with."""
    if text.endswith("\r\n", 0, end):
        return end - 2
    return end - 1 if end and text[end - 1] in BREAKS else end
