"""Which actions come first, and whether there is room for one more: places, memory, the one GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from modelbuild.building.scheduling.costs import Budget, Costs, Memory, heights, peaks_by_kind
from modelbuild.building.scheduling.runs import Run
from modelbuild.machine import memory, toolchain
from modelbuild.plan.actions import Action, Plan


class Room:
    """Of one command, for up to ``jobs`` actions at a time."""

    def __init__(self, runs: Sequence[Run], remembered: Callable[[Run], Memory], jobs: int) -> None:
        self._runs = runs
        self._jobs = jobs
        self._remembered = remembered
        self._kinds = peaks_by_kind([remembered(run) for run in runs])
        self._known: dict[str, tuple[Plan, Costs, dict[str, float]]] = {}
        self._budget = Budget(memory.available(), memory.available)

    def _costs(self, run: Run) -> Costs:
        return self._learnt(run)[1]

    def _learnt(self, run: Run) -> tuple[Plan, Costs, dict[str, float]]:
        """What the actions of a run's plan cost, and the chains that they begin; anew where the plan has
        another road."""
        known = self._known.get(run.identity)
        if known is None or known[0] is not run.plan:
            costs = Costs.of(run.plan, self._remembered(run), self._kinds)
            known = (run.plan, costs, heights(run.plan.actions, costs.seconds))
            self._known[run.identity] = known
        return known

    def taken(self) -> int:
        """The places in which something runs."""
        return sum(len(r.running) + (r.host_state == "starting") for r in self._runs)

    def is_full(self) -> bool:
        return self.taken() >= self._jobs

    def share(self, cores: int, waiting: int) -> int:
        """The cores for each of what runs and what could."""
        return max(1, cores // max(1, min(self._jobs, self.taken() + waiting)))

    def in_order(self, ready: Iterable[tuple[Run, Action]]) -> list[tuple[Run, Action]]:
        """What has begun comes first, so that models in memory stay few; then the longest chain."""
        return sorted(ready, key=lambda row: (row[0].host is None, -self._learnt(row[0])[2][row[1].id]))

    def admits(self, run: Run, action: Action) -> bool:
        """Whether memory, and the one GPU, have room for the action beside what runs."""
        if on_gpu(action) and any(on_gpu(r.actions[a]) for r in self._runs for a in r.running):
            return False
        costs = self._costs(run)
        need = costs.peaks[action.id]
        if action.beside_model and run.host_state == "none":
            if sum(r.host_state in ("starting", "ready") for r in self._runs) >= self._jobs:
                return False
            need = max(need, costs.host)
        running = []
        for other in self._runs:
            of = self._costs(other)
            running += [of.peaks[a] for a in other.running]
            beside = any(other.actions[a].beside_model for a in other.running)
            if other.host_state in ("starting", "ready") and not beside and other is not run:
                running.append(of.host)
        return self._budget.admits(need, running)


def on_gpu(action: Action) -> bool:
    """Whether the action uses the GPU of this machine: one at a time does, across builds."""
    return action.step.on_gpu and toolchain.gpu() is not None
