"""What actions cost when they last ran: which go first, and which fit into memory together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild.plan.actions import Action, Plan

# Of an action that never ran, here or under another recipe: torch and its exporter take 0.6 GiB.
_PEAK = 1 << 30
_SECONDS = 1.0

Memory = Mapping[str, Any]  # action -> what the store remembers of it


@dataclass(frozen=True)
class Costs:
    """Seconds and resident bytes of each action of a plan: recorded, or those of its kind."""

    seconds: Mapping[str, float]
    peaks: Mapping[str, int]
    host: int  # of the process that holds the model: its forks, which share its pages, tell

    @classmethod
    def of(cls, plan: Plan, own: Memory, others: Mapping[str, int]) -> Costs:
        """``own`` is the recipe's memory; ``others`` has the highest peak of each kind of step."""
        seconds, peaks = {}, {}
        for action in plan.actions:
            row = own.get(action.id, {})
            seconds[action.id] = float(row.get("seconds") or _SECONDS)
            peaks[action.id] = int(row.get("peak") or others.get(action.step.kind, _PEAK))
        beside = [peaks[a.id] for a in plan.actions if a.beside_model]
        return cls(seconds, peaks, max(beside, default=0))


def peaks_by_kind(memories: Sequence[Memory]) -> dict[str, int]:
    """The highest recorded peak of each kind of step."""
    found: dict[str, int] = {}
    for memory in memories:
        for row in memory.values():
            kind = row["facts"].get("step", "")
            found[kind] = max(found.get(kind, 0), int(row.get("peak") or 0))
    return {kind: peak for kind, peak in found.items() if peak}


def heights(actions: Sequence[Action], seconds: Mapping[str, float]) -> dict[str, float]:
    """For each action, the seconds of the longest chain that it begins."""
    found = dict(seconds)
    for action in reversed(actions):
        for needed in action.before:
            found[needed] = max(found[needed], seconds[needed] + found[action.id])
    return found


@dataclass(frozen=True)
class Budget:
    """Bytes that may be resident at once. ``limit`` None: nobody knows, and nothing is held back.

    ``free`` asks the machine, which other processes use, too; what was started here and has not
    come to its peak is in nobody's figure but ours, so both have to hold.
    """

    limit: int | None
    free: Callable[[], int | None]

    def admits(self, need: int, running: Sequence[int]) -> bool:
        """Whether ``need`` fits beside what runs. A first one always does: it would never fit better."""
        if not running or self.limit is None:
            return True
        if sum(running) + need > self.limit:
            return False
        free = self.free()
        return free is None or need <= free
