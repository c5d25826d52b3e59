"""What a recipe's pattern means: as ``glob.glob`` has it with ``recursive``, within bounds.

A recipe may be a stranger's. So a wildcard follows no link to a folder (one to ``/`` would make
``**/*`` walk the whole disk), and a pattern that looks at too much is an error.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

MOST = 200_000
"""Names that one pattern may look at: about a second."""


class TooMuch(OSError):
    """The pattern looks at more names than it may."""


def matches(pattern: str, base: Path) -> list[str]:
    """Files and folders, sorted, named as the pattern names them: relative to ``base`` if it is.

    Raises:
        TooMuch: it would look at more than ``MOST`` names.
    """
    return sorted(set(Walk(base).below("", pattern.split("/"))))


def fitting(pattern: str) -> Callable[[Sequence[str]], bool]:
    """Whether the names of a path, folder by folder, are of one that the pattern means, be it there or not.

    Takes time in proportion to both: a stranger's pattern may be all wildcards.
    """
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    # (what a name must be, whether it may be hidden); a part of `**` stands for any folders.
    tests = [(None if p == "**" else re.compile(fnmatch.translate(p)), p.startswith(".")) for p in parts]

    def fits(names: Sequence[str]) -> bool:
        seen = [not name.startswith(".") for name in names]
        reached = {0}  # how many names the parts so far can have taken
        for test, hidden in tests:
            if test is None:
                for i in sorted(reached):
                    while i < len(names) and seen[i] and i + 1 not in reached:
                        i += 1
                        reached.add(i)
            else:
                fit = (i for i in reached if i < len(names) and (hidden or seen[i]))
                reached = {i + 1 for i in fit if test.match(names[i])}
        return len(names) in reached

    return fits


class Walk:
    """Along patterns from ``base``; they may look at ``most`` names in all."""

    def __init__(self, base: Path, most: int | None = None) -> None:
        self.base = base
        self.most = MOST if most is None else most
        self.seen = 0

    def below(self, front: str, parts: Sequence[str]) -> Iterator[str]:
        """``front`` is what the pattern's beginning has matched, with the slash behind it."""
        part, rest = parts[0], parts[1:]
        if part == "**":
            if rest:
                yield from self.below(front, rest)
            elif front and os.path.isdir(self._place(front)):
                yield front
            for name, folder in self._entries(front):
                if not rest:
                    yield front + name
                if folder:  # `front` names it with a slash, its parent has named it without
                    deeper = self.below(f"{front}{name}/", parts)
                    yield from (found for found in deeper if found != f"{front}{name}/")
        elif glob.has_magic(part):
            for name, folder in self._entries(front, hidden=part.startswith(".")):
                if fnmatch.fnmatchcase(name, part):
                    if not rest:
                        yield front + name
                    elif folder:
                        yield from self.below(f"{front}{name}/", rest)
        elif rest:
            yield from self.below(f"{front}{part}/", rest)
        elif os.path.lexists(self._place(front + part)):
            yield front + part

    def _place(self, name: str) -> str:
        return os.path.join(self.base, name)

    def _entries(self, front: str, hidden: bool = False) -> Iterator[tuple[str, bool]]:
        """The names in a folder, and which are folders to go into; none where nothing can be listed."""
        try:
            entries = list(os.scandir(self._place(front)))
        except OSError:
            return
        self.seen += len(entries)
        if self.seen > self.most:
            raise TooMuch(f"it looks at more than {self.most:,} files")
        for entry in entries:
            if hidden or not entry.name.startswith("."):
                yield entry.name, entry.is_dir(follow_symlinks=False)
