"""A path as one line of text that moves when what is there may have: its row.

Imported by every command: see ``state.format`` for what that asks of a module.
"""

import os
import time

# A file system's clock ticks every 4 to 10 ms: what was written twice within one tick, at one size,
# has one row. Where times are whole seconds, so is the tick, or two.
_TICK = 20_000_000
_COARSE_TICK = 2_000_000_000

GONE = "-"  # the row of a path where nothing is
RACY = "?"  # the row of a path that may have changed since it was read; no row is ever equal to it


def row(path: str) -> str:
    """``size mtime ctime inode``, times in ns; ``-`` where nothing is.

    A folder's size means nothing; its times move when an entry comes or goes. The change time is
    the one that no program can put back.
    """
    try:
        s = os.stat(path)
    except OSError:
        return GONE
    return f"{0 if s[0] & 0o170000 == 0o040000 else s[6]} {s.st_mtime_ns} {s.st_ctime_ns} {s[1]}"


def size(row: str) -> int:
    return 0 if row in (GONE, RACY) else int(row.partition(" ")[0])


def young(row: str, since: int) -> bool:
    """Whether what this is the row of may have been written at ``since`` (ns since 1970) or later."""
    if row in (GONE, RACY):
        return False
    _, modified, changed, _ = map(int, row.split())
    return max(modified, changed) >= since - tick(changed)


def tick(changed: int) -> int:
    """The ns within which two writes may have one time, on the file system of this change time."""
    return _TICK if changed % 1_000_000_000 else _COARSE_TICK


def is_fine(row: str) -> bool:
    """Whether the times in a row are finer than whole seconds; of what is not there, none is needed."""
    return row == GONE or (row != RACY and tick(int(row.split()[2])) == _TICK)


def wait_a_tick() -> None:
    time.sleep(_TICK / 1e9)


def steady(path: str, row_then: str, since: int) -> bool:
    """Whether a row is that of all that was read of the path after ``since``, when it was taken."""
    return not young(row_then, since) and row(path) == row_then


def now() -> tuple[int, int]:
    """The time in ns by the clock on the wall, and by one that nobody sets."""
    return time.time_ns(), time.monotonic_ns()


class Look:
    """What ``os.stat`` and the facts say now, asked once per command: a thousand recipes share them."""

    def __init__(self) -> None:
        self.started = time.time_ns()
        self.rows: dict[str, str] = {}
        self.facts: dict[tuple[str, str | None, str], str | None] = {}

    def at(self, path: str) -> str:
        found = self.rows.get(path)
        if found is None:
            found = self.rows[path] = row(path)
        return found

    def moved(self, rows: list[str]) -> set[str]:
        """The paths whose rows are not what they were."""
        known = self.rows
        moved = set()
        for line in rows:
            was, _, path = line.partition("\t")
            now = known.get(path) or self.at(path)
            if now != was:
                moved.add(path)
        return moved
