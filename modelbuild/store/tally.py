"""What the cache was good for: one line per build in one file, added up when it grows."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from modelbuild.store import inside, locks
from modelbuild.store.files import write_atomically

_LARGE = 1_000_000  # bytes: some 10,000 builds
_MOST = 1 << 26  # where it could never be added up


@dataclass(frozen=True)
class Tally:
    """A build, or the sum of some."""

    builds: int = 0
    hits: int = 0
    misses: int = 0
    seconds_saved: float = 0.0
    bytes_reused: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Tally)))


def add(path: Path, gate: Path, build: Tally) -> None:
    """Write one more line, in one call, so that builds may end at once.

    Raises:
        OSError: the cache cannot be written.
    """
    # A line that was cut short (a full disk) spoils only itself: the next one begins a new line.
    line = f"\n{json.dumps(asdict(build))}\n".encode()
    inside.made(path.parent, path.parent)
    with locks.among(gate):
        fd = inside.opened_here(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, line)
            large = os.fstat(fd).st_size > _LARGE
        finally:
            os.close(fd)
    if large:
        _add_up(path, gate)


def total(path: Path) -> Tally:
    """The sum of all lines that can be read."""
    try:
        lines = inside.content(path, path.parent, _MOST).decode(errors="replace").splitlines()
    except OSError:
        return Tally()
    return sum((build for line in lines if (build := _read(line)) is not None), Tally())


def _add_up(path: Path, gate: Path) -> None:
    """Put one line in the place of all; where nothing can be locked, a line could be lost by that."""
    with locks.alone(gate) as sure:
        if sure and path.stat().st_size > _LARGE:
            write_atomically(path, json.dumps(asdict(total(path))) + "\n")


def _read(line: str) -> Tally | None:
    try:
        build = Tally(**json.loads(line))
        numbers = [getattr(build, f.name) for f in fields(Tally)]
        whole = all(isinstance(n, int | float) and math.isfinite(n) and n >= 0 for n in numbers)
    except (ValueError, TypeError, RecursionError):
        return None
    return build if whole else None
