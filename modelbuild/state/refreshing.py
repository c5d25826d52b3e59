"""Rows that do not hold: are the facts behind them still what they were?

Imported by the fast path, when there is something to look at: nothing here may import much.
"""

import os

from modelbuild.base import stat_rows
from modelbuild.state import format as state
from modelbuild.trace import kinds

TYPE_CHECKING = False  # see ``state.format``
if TYPE_CHECKING:
    from collections.abc import Iterable, Set


class Doubts:
    """Paths whose times do not tell when they were written, with the rows that they had when this was made.

    What such a path is may be read from then on: see ``settled``.
    """

    def __init__(self, paths: "Iterable[str]") -> None:
        from modelbuild.machine import untimely

        paths = list(paths)
        self._mapped = untimely.mapped(paths)
        self._rows = {p: stat_rows.row(p) for p in paths if untimely.has_another_clock(p)}
        if self._rows:
            stat_rows.wait_a_tick()

    def doubted(self, path: str) -> bool:
        return path in self._mapped or path in self._rows

    def settled(self, path: str, row: str) -> bool:
        """Whether this row stands for what was read of a path since.

        By a clock that is not ours, it does if it was there a tick before: by any clock, what is written
        later has another one then.
        """
        if path in self._mapped:
            return False
        return path not in self._rows or (self._rows[path] == row and stat_rows.is_fine(row))


def refreshed(known: state.State, moved: "Set[str]", look: stat_rows.Look, place: str) -> bool:
    """Whether the facts behind ``moved`` paths are what they were; their rows are new then.

    A path that is too young keeps a row that never holds, and its facts are looked at each time
    until it has aged: what was written twice within one tick of the clock has one row.
    """
    from pathlib import Path

    base = Path(os.path.dirname(known.whose[0]))
    behind = [fact for fact in state.unpacked_facts(known.facts) if not moved.isdisjoint(fact[2])]
    if not moved <= {path for _, _, paths in behind for path in paths}:
        return False
    doubts = Doubts(moved)
    for name, value, _ in behind:
        asked = (name, value, str(base))
        if asked not in look.facts:
            look.facts[asked] = kinds.current(name, value, base)
        if look.facts[asked] != value:
            return False
    lines = []
    for line in known.rows:
        path = line.partition("\t")[2]
        if path in moved:
            now = look.at(path)
            sure = stat_rows.steady(path, now, look.started) and doubts.settled(path, now)
            line = f"{now if sure else stat_rows.RACY}\t{path}"
        lines.append(line)
    if lines != known.rows:
        known.rows = lines
        state.save(place, known.packed())
    return True
