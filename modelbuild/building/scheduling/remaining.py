"""How far a command has come, and how long the rest takes, by what the same actions took before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from modelbuild.building.scheduling.costs import Memory, heights
from modelbuild.building.scheduling.runs import Left, Run


class Remaining:
    """Of one command, which runs up to ``jobs`` actions at a time. ``remembered`` grows as they end."""

    def __init__(
        self,
        runs: Sequence[Run],
        remembered: Callable[[Run], Memory],
        jobs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs = runs
        self._remembered = remembered
        self._jobs = jobs
        self._clock = clock
        self._since: dict[tuple[str, str], float] = {}

    def started(self, run: Run, action: str) -> None:
        self._since[run.identity, action] = self._clock()

    def count(self) -> tuple[int, int]:
        """How many actions have come to an end, and of how many. One that was cached, or waited for one
        that failed, has come to its end, too."""
        return sum(len(r.ended) for r in self._runs), sum(len(r.plan.actions) for r in self._runs)

    def left(self) -> Left | None:
        """None if nothing is left, or nothing is known of what is.

        An action that never ran takes as long as others of its kind did; what waits may turn out to be
        there already, and takes no time then.
        """
        kinds = _by_kind([self._remembered(run) for run in self._runs])
        longest = total = 0.0
        unknown = known = 0
        for run in self._runs:
            told = dict(self._seconds(run, kinds))
            unknown += sum(s is None for s in told.values())
            known += sum(s is not None for s in told.values())
            seconds = {a.id: told.get(a.id) or 0.0 for a in run.plan.actions}
            longest = max(longest, *heights(run.plan.actions, seconds).values(), 0.0)
            total += sum(seconds.values())
        return Left(max(longest, total / self._jobs), not unknown) if known else None

    def _seconds(self, run: Run, kinds: Mapping[str, float]) -> Iterator[tuple[str, float | None]]:
        """What each action that has not ended takes from now on; None where nobody knows."""
        remembered = self._remembered(run)
        for action in run.plan.actions:
            if action.id in run.ended:
                continue
            whole = remembered.get(action.id, {}).get("seconds", kinds.get(action.step.kind))
            gone = 0.0
            if action.id in run.running and (run.identity, action.id) in self._since:
                gone = self._clock() - self._since[run.identity, action.id]
            yield action.id, None if whole is None else max(0.0, float(whole) - gone)


def _by_kind(memories: Sequence[Memory]) -> dict[str, float]:
    """The mean of the recorded seconds of each kind of step."""
    found: dict[str, list[float]] = {}
    for memory in memories:
        for row in memory.values():
            found.setdefault(row["facts"].get("step", ""), []).append(float(row.get("seconds") or 0.0))
    return {kind: sum(every) / len(every) for kind, every in found.items()}
