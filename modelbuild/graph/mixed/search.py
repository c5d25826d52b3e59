"""The search for a small set of nodes to keep in float32."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from modelbuild.base import passing
from modelbuild.graph.files import Array
from modelbuild.graph.mixed.choice import additions
from modelbuild.graph.mixed.choices import before_choices
from modelbuild.graph.mixed.sensitivity import Strain, shares
from modelbuild.graph.mixed.switches import Switches

# Measurements of sensitivity beyond one per group: a closer look at what adds most; and a longer one
# where values break and not merely round, so that those which break are told from their like.
RUNS = 16
RUNS_IF_BROKEN = 60
BROKEN = 100.0
TRIALS = 6  # attempts to do with fewer nodes
TRIALS_OF_ALL = 24  # the same, where otherwise too little would be half
# Found on few inputs, proven on all of them, in a graph that rounds a little differently.
MARGIN = 0.8
# Less in half than both, and a file does not keep what its name promises: of the work (the nodes that
# sum up products, or the weights, whichever share is larger), and of all nodes that round.
LEAST = 0.1
LEAST_OF_NODES = 0.25
_INFINITE = 1e6  # stands for a strain without bounds where sums are taken
_REFUSED = 4.0  # stands for one that every bound would let pass, and the user's own check does not


def _always(outputs: Sequence[Array]) -> bool:
    return True


@dataclass(frozen=True)
class Trial:
    """One input, and what judges outputs computed from it.

    ``strain`` has a number per bound, and over 1 fails; ``accepts`` is asked where all bounds hold.
    """

    feeds: Mapping[str, Array]
    strain: Callable[[Sequence[Array]], Strain]
    accepts: Callable[[Sequence[Array]], bool] = _always


@dataclass(frozen=True)
class SearchResult:
    """The nodes to keep, in the graph's order, with the strain without them and with them."""

    kept: tuple[str, ...]
    plain: float
    after: float
    runs: int


@dataclass
class _Plan:
    """What was measured, the order in which nodes are kept, and how far it was gone."""

    plain: float
    floor: float
    gains: Mapping[int, float]
    order: Sequence[tuple[str, ...]]
    taken: int = 0
    pruned: bool = False

    def first(self, count: int) -> frozenset[str]:
        return frozenset().union(*self.order[:count])


class Infeasible(Exception):
    """No choice of nodes helps: rounding ``what`` gives this strain, the limit being 1.

    ``refused`` says that it is not the strain but the user's own check that fails. ``worst`` are the
    tensors that add most to it, with their own strain. ``kept`` of ``nodes`` that compute would have to
    stay in fp32, where that is known.
    """

    def __init__(
        self,
        what: str,
        strain: float,
        worst: Sequence[tuple[str, float]] = (),
        kept: int = 0,
        nodes: int = 0,
    ) -> None:
        super().__init__(what)
        self.what, self.strain, self.worst = what, strain, tuple(worst)
        self.kept, self.nodes = kept, nodes
        self.refused = strain == _REFUSED


class Search:
    """One model's search. ``tell`` hears what is going on; ``limit`` is the strain to stay below.

    ``suspects`` are tensors that leave the range of half: each is measured by itself.
    """

    def __init__(
        self,
        switches: Switches,
        trials: Sequence[Trial],
        tell: Callable[[str], None],
        suspects: Collection[str] = (),
    ) -> None:
        self.switches = switches
        self.roundings = switches.roundings
        self.trials = list(trials)
        self.tell = tell
        self.suspects = frozenset(suspects)
        self.limit = 1.0
        self.runs = 0
        self.every = frozenset(range(len(self.roundings.uses)))
        self.weights = frozenset(i for i in self.every if self.roundings.uses[i].kind == "weight")
        self._plan: _Plan | None = None
        self._first: list[tuple[str, ...]] = []  # what is kept before all else, step by step

    def run(self) -> SearchResult:
        """Find nodes to keep so that every bound holds on every trial.

        Called again, with another trial or a stricter limit, it goes on from what it found.

        Raises:
            Infeasible: no choice of nodes holds, or none that leaves enough in half.
        """
        if self._plan is None:
            plain = self._worst(self.every)
            if plain <= self.limit:
                return SearchResult((), plain, plain, self.runs)
            plan = self._plan = self._planned(plain)
            count, after = self._shortest(plan, 0)
            kept, after = self._pruned(plan, plan.first(count), after)
        else:
            plan = self._plan
            # What pruning left out may be all that this trial lacks.
            start = plan.taken if plan.pruned else plan.taken + 1
            count, after = self._shortest(plan, min(start, len(plan.order)))
            kept = plan.first(count)
        if self._lacks_half(kept):
            whole = plan.first(len(plan.order))
            kept, after = self._pruned(plan, whole, self._of_kept(whole), every=True)
            if self._lacks_half(kept):
                if self.settle():
                    return self.run()
                raise self._infeasible(plan, kept)
        plan.taken, plan.pruned = count, kept != plan.first(count)
        return SearchResult(self._in_order(kept), plan.plain, after, self.runs)

    def forget(self) -> None:
        """Measure anew when run again: another trial has come first."""
        self._plan = None

    def settle(self) -> bool:
        """Go another way from now on, where there is one: keep first what values are chosen by.

        What gains most on a few inputs is no guide where a rounding changes a choice: on the next
        input it is another rounding, and another choice.
        """
        steps = [] if self._first else before_choices(self.roundings)
        if not steps:
            return False
        self.tell(
            f"values are chosen by comparing; keeping what they are chosen by in {self.roundings.outside}"
        )
        self._first, self.limit = steps, 1.0
        if self._plan is not None:
            self._plan = replace(self._plan, order=self._order(self._plan.gains), taken=0, pruned=True)
        return True

    def _planned(self, plain: float) -> _Plan:
        self.tell("measuring what rounding the weights alone costs")
        floor = self._worst(self.weights)
        gains = self._gains(plain)
        return _Plan(plain, floor, gains, self._order(gains))

    def _order(self, gains: Mapping[int, float]) -> list[tuple[str, ...]]:
        """All nodes, a few at a time, in the order in which they are kept."""
        finite = {i: g if np.isfinite(g) else _INFINITE for i, g in gains.items()}
        kept = frozenset[str]().union(*self._first)
        order = [*self._first, *(nodes for nodes, _ in additions(self.roundings.needs, finite, kept))]
        rest = frozenset().union(*(n for n in self.roundings.needs if n)).difference(*order)
        if rest:  # what gained nothing by itself; with it nothing is rounded any more
            order.append(tuple(sorted(rest)))
        return order

    def _lacks_half(self, kept: frozenset[str]) -> bool:
        """Whether too little is left in half to call the file half."""
        work, in_half, nodes = self.roundings.share(kept)
        return work < LEAST and in_half < LEAST_OF_NODES * nodes

    def _infeasible(self, plan: _Plan, kept: frozenset[str]) -> Infeasible:
        _, in_half, nodes = self.roundings.share(kept)
        of_weights = plan.floor > self.limit
        worst: defaultdict[str, float] = defaultdict(float)
        for i in self.weights if of_weights else self.every:
            worst[self.roundings.uses[i].tensor] += plan.gains.get(i, 0.0)
        ranked = sorted(worst.items(), key=lambda item: (-item[1], item[0]))
        what, strain = ("the weights", plan.floor) if of_weights else ("everything", plan.plain)
        return Infeasible(what, strain, ranked, nodes - in_half, nodes)

    def unrounded(self) -> float:
        """The strain of the float32 graph itself."""
        return self._worst(())

    # ---- measuring -----------------------------------------------------------------------------

    def _run(self, rounded: Collection[int], trial: Trial) -> Sequence[Array] | None:
        """The outputs; None where rounding leaves sizes that do not fit each other."""
        self.runs += 1
        try:
            return self.switches.run(trial.feeds, rounded)
        except Exception as error:
            if not rounded:
                raise
            passing.met(error)
            return None

    def _strain(self, rounded: Collection[int], trial: Trial) -> Strain:
        outputs = self._run(rounded, trial)
        return np.array([np.inf]) if outputs is None else trial.strain(outputs)

    def _worst(self, rounded: Collection[int], enough: float = np.inf) -> float:
        """The largest strain over all trials; or the first one that is more than ``enough``."""
        worst = 0.0
        for trial in self.trials:
            outputs = self._run(rounded, trial)
            strain = np.inf if outputs is None else float(trial.strain(outputs).max(initial=0.0))
            if outputs is not None and strain <= self.limit and not trial.accepts(outputs):
                strain = _REFUSED
            worst = max(worst, strain)
            if worst > enough:
                break
        return worst

    def _of_kept(self, kept: Collection[str], enough: float = np.inf) -> float:
        return self._worst(self.roundings.rounded(kept), enough)

    # ---- sensitivity ---------------------------------------------------------------------------

    def _groups(self, of: Collection[int]) -> list[list[int]]:
        """Alike uses together, in the graph's order: what makes the tensor and what reads it."""
        groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for i in sorted(of):
            use = self.roundings.uses[i]
            alone = use.tensor if use.tensor in self.suspects else ""
            groups[use.kind, use.made_by, use.read_by, alone].append(i)
        return list(groups.values())

    def _gains(self, plain: float) -> dict[int, float]:
        """What it takes away to leave each use unrounded."""
        rounded = self.every
        groups = self._groups(rounded)
        self.tell(f"measuring {len(rounded)} roundings in {len(groups)} groups")
        first = self.trials[0]
        # To look closer pays where a group could be a good part of what is too much.
        broken = plain > BROKEN
        too_much = self.limit if broken else plain - self.limit
        if plain == _REFUSED:  # nobody knows by how much
            too_much = float(self._strain(rounded, first).max(initial=0.0))
        smallest = 0.05 * too_much
        runs = len(groups) + (RUNS_IF_BROKEN if broken else RUNS)
        found = shares(groups, lambda g: self._strain(g, first), runs=runs, smallest=smallest)
        return {i: float(np.nan_to_num(s, nan=np.inf).max(initial=0.0)) for i, s in found.items()}

    # ---- choosing ------------------------------------------------------------------------------

    def _shortest(self, plan: _Plan, start: int) -> tuple[int, float]:
        """How many steps of the order it takes, from ``start`` on; with a margin where there is one."""
        seen: dict[int, tuple[float, float]] = {}

        def strain(count: int, limit: float) -> float:
            stopped_at, found = seen.get(count, (0.0, np.inf))
            if found > stopped_at and stopped_at < limit:  # unknown, or more than was asked then
                kept = plan.first(count)
                seen[count] = limit, self._of_kept(kept, limit)
                error = seen[count][1] ** 0.5
                said = f"the error is {error:.0%}" if np.isfinite(error) else "values or sizes are lost"
                self.tell(f"with {len(kept)} nodes in {self.roundings.outside} {said}")
            return seen[count][1]

        for limit in (MARGIN * self.limit, self.limit):
            low, high = start - 1, start
            while high < len(plan.order) and strain(high, limit) > limit:
                low, high = high, min(max(high + 1, start + 2 * (high - start)), len(plan.order))
            if strain(high, limit) > limit:
                continue
            while low + 1 < high:
                middle = (low + high) // 2
                low, high = (low, middle) if strain(middle, limit) <= limit else (middle, high)
            return high, strain(high, limit)
        raise Infeasible("the model's inputs and outputs", self._of_kept(plan.first(len(plan.order))))

    def _pruned(
        self, plan: _Plan, kept: frozenset[str], after: float, *, every: bool = False
    ) -> tuple[frozenset[str], float]:
        """Without the nodes that turn out not to be needed, those that gain least first.

        ``every`` tries all of them, those first that half precision is asked for: halves of what is left
        to try, and each half of one that is needed. What is kept before all else is not tried: a choice
        that comes out the same here need not elsewhere.
        """
        worth: defaultdict[str, float] = defaultdict(float)
        for i, nodes in enumerate(self.roundings.needs):
            if nodes is not None and nodes <= kept:
                for node in nodes:
                    worth[node] += plan.gains.get(i, 0.0)
        limit = MARGIN * self.limit if after <= MARGIN * self.limit else self.limit
        ranked = sorted(kept.difference(*self._first), key=lambda n: (worth[n], n))
        tries: list[tuple[str, ...]] = [(node,) for node in reversed(ranked[:TRIALS])]
        if every:
            work = self.roundings.work
            tries = [tuple(n for n in ranked if (n in work) is first) for first in (False, True)]
        left = TRIALS_OF_ALL if every else TRIALS
        while tries and left:
            group = tries.pop()
            if not group:
                continue
            fewer = kept.difference(group)
            left -= 1
            strain = self._of_kept(fewer, limit)
            if strain <= limit:
                kept, after = fewer, strain
            elif len(group) > 1:
                middle = len(group) // 2
                tries += [group[middle:], group[:middle]]  # the first half is tried first
        return kept, after

    def _in_order(self, kept: frozenset[str]) -> tuple[str, ...]:
        return tuple(n for n in self.roundings.nodes if n in kept)
