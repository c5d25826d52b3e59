"""The one change that the program makes to a recipe: the nodes that a search kept in fp32.

The text is edited and not written anew, so that all else in it stays as its author wrote it:
comments, quotes, order, line endings. What comes out is read again; if anything but the list is
another, the edit is refused with the lines to paste.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.scalars import quoted
from modelbuild.recipe.places import BREAKS, Place, places
from modelbuild.recipe.problems import INVALID
from modelbuild.recipe.reading import read

KEY = "node_block_list"
WIDTH = 110
"""Columns that a line in braces may have before it is broken."""

_BOM = "\ufeff"
_BREAK = re.compile(f"\r\n|[{BREAKS}]")
_COLON = re.compile(r"[ \t]*:")
_COMMA = re.compile(rf"(?:\s|#[^{BREAKS}]*+)*+,")  # behind a value in braces, and comments between

_UNHELD = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def with_node_block_list(text: str, precision: str, nodes: Sequence[str]) -> str:
    """A recipe's text with ``precision.<precision>.node_block_list`` set, and nothing else changed.

    The entry is added where there is none; one that is there keeps its style if it can. Without
    ``nodes`` an existing list is emptied.

    Raises:
        RecipeError: ``recipe-invalid``: the list cannot be put there without changing something
            else. The hint is what to paste.
    """
    bom, body = (_BOM, text[1:]) if text.startswith(_BOM) else ("", text)
    try:
        old = _data(body)
        wanted = _wanted(old, precision, list(nodes))
        if _same(wanted, old):
            return text
        edited = _edited(body, _Editing(body, precision, nodes).edits())
        try:
            new = _data(edited)
        except _CannotError:
            new = None
        if not _same(wanted, new):
            raise _CannotError("an anchor or an unusual layout ties the list to other values")
    except _CannotError as stop:
        raise RecipeError(_refusal(str(stop), precision, nodes)) from None
    return bom + edited


def write_back(path: Path, precision: str, nodes: Sequence[str], loaded: bytes) -> bool:
    """Put the list into the recipe's file, whole or not at all; True if the file changed.

    ``loaded`` is what the file held when the recipe was read: what somebody wrote since then is
    left alone. A link is followed, and the file keeps its mode.

    Raises:
        RecipeError: ``recipe-invalid``: the file changed, cannot be written or cannot be edited.
    """
    try:
        target = path.resolve(strict=True)
        with open(target, "r+b") as file:  # a rename would not ask whether the file may be written
            found = file.read()
        if found != loaded:
            raise RecipeError(_refusal("it was changed during the build", precision, nodes))
        edited = with_node_block_list(loaded.decode(errors="surrogateescape"), precision, nodes).encode()
        if edited == loaded:
            return False
        _replace_file(target, edited)
    except RecipeError as error:
        raise RecipeError(replace(d, where=str(path)) for d in error.diagnostics) from error
    except OSError as error:
        reason = f"it cannot be written: {error.strerror}"
        raise RecipeError(replace(_refusal(reason, precision, nodes), where=str(path))) from error
    return True


def _replace_file(target: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), target.stat().st_mode & 0o7777)
            os.fsync(file.fileno())
        os.replace(name, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


# ---- before and after ------------------------------------------------------------------------


class _CannotError(Exception):
    """Why the recipe is not edited; its text completes a sentence."""


def _refusal(reason: str, precision: str, nodes: Sequence[str]) -> Diagnostic:
    message = f"the recipe cannot be edited by itself: {reason}"
    if any(_UNHELD.search(name) or not name for name in nodes):
        return Diagnostic(INVALID, message, "give the node another name in the model")
    listed = [f"    {KEY}:", *(f"      - {quoted(name)}" for name in nodes)]
    lines = ["precision:", f"  {precision}:", *(listed if nodes else [f"    {KEY}: []"])]
    return Diagnostic(INVALID, message, "\n".join(["put this into it:", *lines]))


def _data(text: str) -> Any:
    document = read(text.encode("utf-8", errors="surrogatepass"))
    if document.root is None or document.problems:
        raise _CannotError(f"it cannot be read: {document.problems[0].message}")
    return document.root.data


def _wanted(data: Any, precision: str, nodes: list[str]) -> Any:
    """The data with the list; no new one without nodes, and none of the name of nothing."""
    for name in nodes:
        if not name:
            raise _CannotError("a node without a name cannot be listed")
        if odd := _UNHELD.search(name):
            raise _CannotError(f"a node's name holds the character U+{ord(odd[0]):04X}")
    every = data.get("precision") if isinstance(data, dict) else None
    if not isinstance(every, dict) or precision not in every:
        raise _CannotError(f"it has no `precision.{precision}`")
    knobs = every[precision]
    if knobs is not None and not isinstance(knobs, dict):
        raise _CannotError(f"`precision.{precision}` is not a mapping")
    if not nodes and KEY not in (knobs or {}):
        return data
    if not isinstance((knobs or {}).get(KEY) or [], list):
        raise _CannotError(f"`{KEY}` is not a list")
    return {**data, "precision": {**every, precision: {**(knobs or {}), KEY: nodes}}}


def _same(one: Any, other: Any) -> bool:
    """Equal in types too (1 is not true) and in the order of keys; and .nan is .nan."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))


@dataclass(frozen=True)
class _Edit:
    start: int
    end: int
    text: str


def _edited(text: str, edits: Iterable[_Edit]) -> str:
    parts, at = [], 0
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, text[at:]])


# ---- the edit --------------------------------------------------------------------------------


class _Editing:
    """What to change in a text for the list to be there."""

    def __init__(self, text: str, precision: str, nodes: Sequence[str]) -> None:
        self.text, self.precision = text, precision
        self.names = [quoted(name) for name in nodes]
        self.root = places(text)
        breaks = re.search("\r\n|\n|\r", text)
        self.newline = breaks[0] if breaks else "\n"
        self.step = 2  # columns that one level is indented by
        self.dash = 2  # columns from a key to the dashes below it

    def edits(self) -> Iterator[_Edit]:
        key, every = self._entry(self.root, "precision")
        if every.kind == "alias":
            raise _CannotError("`precision` is an alias of values that stand elsewhere")
        half, knobs = self._entry(every, self.precision)
        if knobs.kind == "alias":
            raise _CannotError(f"`precision.{self.precision}` is an alias of values that stand elsewhere")
        if not every.flow and half.column > key.column:
            self.step = half.column - key.column
        self.dash = next(_dashes(self.root), self.step)
        existing = knobs.entry(KEY)
        if existing:
            return self._replaced(*existing, block=not knobs.flow)
        if knobs.kind == "scalar" or (knobs.flow and not knobs.entries):
            return self._filled(half, knobs, block=not every.flow)
        return self._appended_in_braces(knobs) if knobs.flow else self._appended(knobs)

    def _entry(self, mapping: Place, key: str) -> tuple[Place, Place]:
        found = mapping.entry(key)
        if found is None:  # the data has it: so its key is an alias
            raise _CannotError(f"the key `{key}` is an alias")
        return found

    # -- an entry where there is none --

    def _appended(self, knobs: Place) -> Iterator[_Edit]:
        """Below the last key of a block, and below the comments that go with that key."""
        column = knobs.entries[0][0].column
        end = self._end_of_comments(knobs.end, column)
        yield _Edit(end, end, self._key_and_items(column))

    def _appended_in_braces(self, knobs: Place) -> Iterator[_Edit]:
        """Behind the last value in braces; in a line of its own where each key has one."""
        key, last = knobs.entries[-1]
        comma = _COMMA.match(self.text, last.end)
        end = comma.end() if comma else last.end
        if not _BREAK.search(self.text, end, knobs.end):
            yield self._in_braces(last.end, last.end, ", ", "")
            return
        if not comma:
            yield _Edit(last.end, last.end, ",")
        first = not self.text[self._line(key.start) : key.start].strip(" ")
        column = key.column if first else self._indent(key.start) + self.step
        below = self._line_end(end)
        yield _Edit(below, below, self.newline + self._own_line(column, "," if comma else "", 0))

    def _filled(self, half: Place, knobs: Place, block: bool) -> Iterator[_Edit]:
        """In place of ``{}`` or of nothing: below the key if there is room for a block."""
        column = half.column + self.step
        if block and (emptied := self._emptied(half, knobs)):
            yield emptied
            end = self._end_of_comments(emptied.start, half.column + 1)
            yield _Edit(end, end, self._key_and_items(column))
        elif knobs.kind == "mapping":
            yield self._in_braces(knobs.end - 1, knobs.end - 1, "", "")
        elif knobs.anchored:
            raise _CannotError(f"`precision.{self.precision}` is an anchor of nothing")
        elif knobs.end > knobs.start:  # a word for nothing
            yield self._in_braces(knobs.start, knobs.end, "{", "}")
        else:
            colon = re.compile(r"[ \t]*:( ?)").match(self.text, half.end)
            at = colon.end() if colon else half.end
            opening = ("{" if colon[1] else " {") if colon else ": {"
            yield self._in_braces(at, at, opening, "}")

    # -- a list that is there --

    def _replaced(self, key: Place, listed: Place, block: bool) -> Iterator[_Edit]:
        if listed.kind == "alias" or listed.anchored:
            raise _CannotError(f"`{KEY}` is an alias or an anchor")
        if listed.items and not listed.flow:
            if self.names:
                yield _Edit(listed.start, self._line_end(listed.end), self._items(listed.column))
            else:
                yield from self._without_items(key, listed)
        elif block and self.names and not listed.items and (emptied := self._emptied(key, listed)):
            yield emptied
            end = self._end_of_comments(emptied.start, key.column + 1)
            items = self.newline + " " * (key.column + self.dash) + self._items(key.column + self.dash)
            yield _Edit(end, end, items)
        elif listed.kind == "sequence":
            column = self._indent(listed.start) + self.step
            before = listed.start - self._line(listed.start)
            after = self._line_end(listed.end) - listed.end
            spread = len(listed.items) > 1 and bool(_BREAK.search(self.text, listed.start, listed.end))
            lines = self._brackets(column, before + after, spread)
            yield _Edit(listed.start, listed.end, lines)
        else:
            raise _CannotError(f"`{KEY}` has an unusual layout")

    def _without_items(self, key: Place, listed: Place) -> Iterator[_Edit]:
        """``[]`` behind the key, and the lines of the items gone."""
        colon = _COLON.match(self.text, key.end)
        line = self._line(listed.start)
        above = self.text[:line]
        if colon is None or self.text[line : listed.start].strip(" "):
            raise _CannotError(f"`{KEY}` has an unusual layout")
        yield _Edit(colon.end(), colon.end(), " []")
        cut = len(above) - (2 if above.endswith("\r\n") else 1)
        yield _Edit(cut, self._line_end(listed.end), "")

    # -- pieces --

    def _emptied(self, key: Place, value: Place) -> _Edit | None:
        """The edit that leaves ``key:`` of an empty value; None if it cannot, or an anchor is there.

        It begins behind the colon, even where there is nothing to take away.
        """
        colon = _COLON.match(self.text, key.end)
        if colon is None or value.anchored:
            return None
        inside = self.text[value.start + 1 : value.end - 1] if value.flow else ""
        if self.text[colon.end() : value.start].strip(" \t") or inside.strip(" \t"):
            return None
        return _Edit(colon.end(), max(colon.end(), value.end), "")

    def _key_and_items(self, column: int) -> str:
        """Lines to put below another: the key, and a line for each node."""
        first, dashes = " " * column, " " * (column + self.dash)
        return f"{self.newline}{first}{KEY}:{self.newline}{dashes}{self._items(column + self.dash)}"

    def _items(self, column: int) -> str:
        """A line for each node, to be put at ``column``."""
        return f"{self.newline}{' ' * column}".join(f"- {name}" for name in self.names)

    def _in_braces(self, start: int, end: int, opening: str, closing: str) -> _Edit:
        """An entry of a mapping in braces, in the line that is there or below it."""
        before, after = start - self._line(start), self._line_end(end) - end
        entry = f"{opening}{KEY}: [{', '.join(self.names)}]{closing}"
        if before + len(entry) + after > WIDTH:
            line = self._own_line(self._indent(start) + self.step, closing, after)
            entry = f"{opening.rstrip(' ')}{self.newline}{line}"
        return _Edit(start, end, entry)

    def _own_line(self, column: int, closing: str, after: int) -> str:
        head = f"{' ' * column}{KEY}: "
        return f"{head}{self._brackets(column + self.step, len(head) + len(closing) + after)}{closing}"

    def _brackets(self, column: int, others: int, spread: bool = False) -> str:
        """The list in brackets; a line for each node if with ``others`` columns it is too long.

        The last line closes it: a bracket alone would have to stand deeper than its key.
        """
        line = f"[{', '.join(self.names)}]"
        if not self.names or (others + len(line) <= WIDTH and not spread):
            return line
        start = f"{self.newline}{' ' * column}"
        return f"[{start}" + f",{start}".join(self.names) + "]"

    def _end_of_comments(self, at: int, column: int) -> int:
        """The end of the line of ``at``, and of the comments right below, from ``column`` on."""
        comment = re.compile(rf"(?:\r\n|[{BREAKS}]) {{{column},}}#[^{BREAKS}]*")
        end = self._line_end(at)
        while found := comment.match(self.text, end):
            end = found.end()
        return end

    def _line(self, at: int) -> int:
        return max(self.text.rfind(sign, 0, at) for sign in BREAKS) + 1

    def _line_end(self, at: int) -> int:
        found = _BREAK.search(self.text, at)
        return found.start() if found else len(self.text)

    def _indent(self, at: int) -> int:
        line = self.text[self._line(at) :]
        return len(line) - len(line.lstrip(" "))


def _dashes(place: Place) -> Iterator[int]:
    """How far the dashes of each list are from their key, as this author writes it."""
    for key, value in place.entries:
        if value.kind == "sequence" and not (value.flow or value.anchored or place.flow):
            yield max(0, value.column - key.column)
    for part in place.inner:
        yield from _dashes(part)
