"""Rows that do not hold: are the facts behind them still what they were?

Imported by the short way, when there is something to look at: nothing here may import much.
"""

import os

from modelbuild import state
from modelbuild.trace import facts

TYPE_CHECKING = False  # see ``state``
if TYPE_CHECKING:
    from collections.abc import Set


def refreshed(known: state.State, moved: "Set[str]", look: state.Look, place: str) -> bool:
    """Whether the facts behind ``moved`` paths are what they were; their rows are new then.

    A path that is too young keeps a row that never holds, and its facts are looked at each time
    until it has aged: what was written twice within one tick of the clock has one row.
    """
    from pathlib import Path

    base = Path(os.path.dirname(known.whose[0]))
    behind = [fact for fact in state.unpacked_facts(known.facts) if not moved.isdisjoint(fact[2])]
    if not moved <= {path for _, _, paths in behind for path in paths}:
        return False
    for name, value, _ in behind:
        asked = (name, value, str(base))
        if asked not in look.facts:
            look.facts[asked] = facts.current(name, value, base)
        if look.facts[asked] != value:
            return False
    lines = []
    for line in known.rows:
        path = line.partition("\t")[2]
        if path in moved:
            now = look.at(path)
            line = f"{now if state.steady(path, now, look.started) else state.RACY}\t{path}"
        lines.append(line)
    if lines != known.rows:
        known.rows = lines
        state.save(place, known.packed())
    return True
