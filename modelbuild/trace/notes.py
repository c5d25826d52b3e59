"""What a process and its forks saw, as it was noted."""

from __future__ import annotations

import contextlib
import os
import pickle
from typing import Any

_LENGTH = 8  # bytes


class Notes:
    """The first word on everything stays.

    What a fork notes goes into memory that it shares with all it descends from: a pool of processes
    may read for the one that made it, and what they remember is gone with them.
    """

    def __init__(self) -> None:
        self.read: dict[str, Any] = {}  # files: their rows when they were opened
        self.missed: dict[str, None] = {}  # paths that were looked for and not there
        self.present: dict[str, str] = {}  # paths that were looked for and there: "file" or "folder"
        self.listed: dict[str, str] = {}  # folders: a digest of their names
        self.links: dict[str, str | None] = {}  # where they lead; None: it is none
        self.sizes: dict[str, str | None] = {}  # files that were asked for their size, or for everything
        self.programs: dict[str, str | None] = {}  # files that were asked whether they can be run
        self.timed: dict[str, None] = {}  # paths that were asked for their times
        self.journals: dict[str, str | None] = {}  # databases: what is beside them
        self.which: dict[str, str | None] = {}  # programs that were looked for on PATH
        self.made: dict[str, bool] = {}  # by the run, so its own; whether nothing was there before
        self.asked: dict[str, str | None] = {}  # variables
        self.torch: dict[str, str | None] = {}  # those that PyTorch's own code reads
        self.catalogued: dict[str, None] = {}  # facts that importlib.metadata was asked for
        self.marks: dict[str, None] = {}  # "swept": over all variables; "stood": the current folder counts
        self._line = [os.getpid()]  # this process, after those that it was forked from
        self._shared = os.memfd_create("notes")  # for the life of the process

    def add(self, kind: str, key: str, value: Any = None) -> None:
        notes = getattr(self, kind)
        if key not in notes:
            notes[key] = value
            if len(self._line) > 1:
                record = pickle.dumps((self._line, kind, key, value))
                with contextlib.suppress(OSError):  # a fork that has closed all files
                    # In one piece: forks share the position, too.
                    os.write(self._shared, len(record).to_bytes(_LENGTH) + record)

    def fork(self) -> None:
        """In the child."""
        self._line = [*self._line, os.getpid()]

    def take_in_forks(self) -> None:
        """Note what this process's own forks have noted."""
        place = 0
        while head := os.pread(self._shared, _LENGTH, place):
            place += _LENGTH + (size := int.from_bytes(head))
            line, kind, key, value = pickle.loads(os.pread(self._shared, size, place - size))
            if os.getpid() in line[:-1]:
                getattr(self, kind).setdefault(key, value)

    def made_in(self, folder: str) -> list[str]:
        """The names that the run has put into a folder."""
        return [os.path.basename(p) for p, new in self.made.items() if new and os.path.dirname(p) == folder]
