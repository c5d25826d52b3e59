"""Text that fits a terminal: columns that give way, and sentences broken between words.

Where nothing says how wide it is (a pipe, a file, a log), text stays as it is, so that it can be searched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

_LEAST = 40  # columns: with less nothing can be read
_CARET = re.compile(r"(\s*\| )?\s*\^[\^~]*")  # below a line of source, beside the numbers of the lines


def width(stream: TextIO) -> int | None:
    """The columns of the terminal that the stream is, or that ``COLUMNS`` says; None where there is none.

    Elsewhere than on a terminal ``COLUMNS`` beside ``LINES`` says nothing: readline leaves both in the
    environment of whatever it is loaded into, and nobody has asked for a pipe of 80 columns.
    """
    said = os.environ.get("COLUMNS", "")
    named = int(said) if said.isdecimal() and said.isascii() else 0
    try:
        wide = os.get_terminal_size(stream.fileno()).columns or 80 if stream.isatty() else 0
    except (OSError, ValueError):  # closed, or no file at all
        wide = 0
    if not wide and "LINES" in os.environ:
        return None
    return max(_LEAST, named or wide) if named or wide else None


# ---- columns -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """``least`` characters are left of a cell where there is little room, None: all of them; then columns
    leave, those with the highest ``rank`` first, and 0 never."""

    title: str
    rank: int = 0
    least: int | None = None
    right: bool = False  # flush right
    tail: bool = False  # a cell's end tells it from others, so its beginning goes


def columns(head: Sequence[Column], rows: Sequence[Sequence[str]], room: int | None) -> list[str]:
    """A table with a heading, each line at most ``room`` characters; columns without a cell are left out."""
    kept = [i for i in range(len(head)) if any(row[i] for row in rows)]
    wide = [max([len(c.title), *(len(row[i]) for row in rows)]) for i, c in enumerate(head)]
    small = [
        w if c.least is None else min(w, max(c.least, len(c.title))) for c, w in zip(head, wide, strict=True)
    ]
    if room is not None:
        while _total(small[i] for i in kept) > room and any(head[i].rank for i in kept):
            kept.remove(max(kept, key=lambda i: head[i].rank))
        spare = room - _total(small[i] for i in kept)
        for i in kept:  # the first ones have it
            given = min(wide[i] - small[i], max(0, spare))
            wide[i], spare = small[i] + given, spare - given
    lines = [[c.title for c in head], ["─" * w for w in wide], *rows]
    return [_line(head, wide, kept, cells) for cells in lines]


def _total(widths: Iterable[int]) -> int:
    every = list(widths)
    return sum(every) + 2 * len(every)


def _line(head: Sequence[Column], wide: Sequence[int], kept: Sequence[int], cells: Sequence[str]) -> str:
    shown = []
    for i in kept:
        cut = elided(cells[i], wide[i], tail=head[i].tail)
        shown.append(cut.rjust(wide[i]) if head[i].right else cut.ljust(wide[i]))
    return ("  " + "  ".join(shown)).rstrip()


def elided(text: str, most: int, *, tail: bool = False) -> str:
    """At most so many characters of a text: its beginning, or its ``tail``.

    Where the tail is all that stands behind a colon (``logits: rtol 1e-07``), what is before it goes whole.
    """
    if len(text) <= most:
        return text
    behind = text.partition(": ")[2]
    if tail and behind and len(behind) <= most:
        return behind
    return "…" + text[len(text) - most + 1 :] if tail else text[: most - 1] + "…"


# ---- sentences ---------------------------------------------------------------------------------


def fitted(text: str, room: int | None) -> str:
    """Lines that are too long, broken between words and set in; a word that is longer stays whole.

    A line of source with a caret below it keeps its caret: of both the same part is shown.
    """
    if room is None or all(len(line) <= room for line in text.split("\n")):
        return text
    shown: list[str] = []
    lines = iter(text.split("\n"))
    last = next(lines)
    for line in lines:
        if caret := _CARET.fullmatch(line):
            last, line = _windows(last, line, len(caret[1] or ""), room)
            shown.append(last)
        else:
            shown += _broken(last, room)
        last = line
    return "\n".join([*shown, *_broken(last, room)])


def _broken(line: str, room: int) -> list[str]:
    import textwrap

    if len(line) <= room:
        return [line]
    inset = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line, room, subsequent_indent=f"{inset}  ", break_long_words=False, break_on_hyphens=False,
        drop_whitespace=True, replace_whitespace=False, expand_tabs=False,
    )  # fmt: skip


def _windows(line: str, carets: str, margin: int, room: int) -> tuple[str, str]:
    """Both lines from where the caret can be seen; the margin with the line's number stays."""
    at, most = carets.index("^") - margin, room - margin
    start = 0 if at < most - 4 else at - most // 2
    return tuple(t[:margin] + t[margin + start : margin + start + most] for t in (line, carets))  # type: ignore[return-value]
