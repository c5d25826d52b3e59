"""The search for a small set of nodes to keep in float32."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelbuild.graph.files import Array
from modelbuild.graph.rounding import to_half
from modelbuild.mixed.choice import additions
from modelbuild.mixed.sensitivity import Strain, shares
from modelbuild.mixed.switches import Switches

# Measurements of sensitivity beyond one per group: a closer look at what adds most; and a longer one
# where values break and not merely round, so that those which break are told from their like.
RUNS = 16
RUNS_IF_BROKEN = 60
BROKEN = 100.0
TRIALS = 6  # attempts to do with fewer nodes
# Found on few inputs, proven on all of them, in a graph that rounds a little differently.
MARGIN = 0.8
# A weight rounded within its type's range is off by 2**-11 at most; beyond 2**-8 it left the range.
_LEFT_RANGE = 2.0**-8
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
class Found:
    """The nodes to keep, in the graph's order, with the strain without them and with them."""

    kept: tuple[str, ...]
    plain: float
    after: float
    runs: int


@dataclass
class _Plan:
    """What was measured, the order in which nodes are kept, and how far it was gone."""

    plain: float
    forced: frozenset[str]
    gains: Mapping[int, float]
    order: Sequence[tuple[str, ...]]
    taken: int = 0

    def first(self, count: int) -> frozenset[str]:
        return self.forced.union(*self.order[:count])


class Infeasible(Exception):
    """No choice of nodes can help: rounding ``what`` alone gives this strain, the limit being 1.

    ``refused`` says that it is not the strain but the user's own check that fails. ``worst`` are the
    tensors that add most to it, with their own strain.
    """

    def __init__(self, what: str, strain: float, worst: Sequence[tuple[str, float]] = ()) -> None:
        super().__init__(what)
        self.what, self.strain, self.worst = what, strain, tuple(worst)
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

    def run(self) -> Found:
        """Find nodes to keep so that every bound holds on every trial.

        Called again, with another trial or a stricter limit, it goes on from what it found.

        Raises:
            Infeasible: rounding the weights alone breaks a bound, or nothing rounded inside does.
        """
        if self._plan is None:
            plain = self._worst(self.every)
            if plain <= self.limit:
                return Found((), plain, plain, self.runs)
            self._plan = self._planned(plain)
            count, after = self._shortest(self._plan, 0)
            kept, after = self._pruned(self._plan, self._plan.first(count), after)
        else:
            count, after = self._shortest(self._plan, min(self._plan.taken + 1, len(self._plan.order)))
            kept = self._plan.first(count)
        self._plan.taken = count
        return Found(self._in_order(kept), self._plan.plain, after, self.runs)

    def forget(self) -> None:
        """Measure anew when run again: another trial has come first."""
        self._plan = None

    def _planned(self, plain: float) -> _Plan:
        self.tell("measuring what rounding the weights alone costs")
        floor = self._worst(self.weights)
        forced = self._out_of_range(floor) if floor > self.limit else frozenset()
        gains = self._gains(forced, plain)
        finite = {i: g if np.isfinite(g) else _INFINITE for i, g in gains.items()}
        order = [nodes for nodes, _ in additions(self.roundings.needs, finite, forced)]
        return _Plan(plain, forced, gains, order)

    def unrounded(self) -> float:
        """The strain of the float32 graph itself."""
        return self._worst(())

    # ---- measuring -----------------------------------------------------------------------------

    def _run(self, rounded: Collection[int], trial: Trial) -> Sequence[Array]:
        self.runs += 1
        return self.switches.run(trial.feeds, rounded)

    def _strain(self, rounded: Collection[int], trial: Trial) -> Strain:
        return trial.strain(self._run(rounded, trial))

    def _worst(self, rounded: Collection[int], enough: float = np.inf) -> float:
        """The largest strain over all trials; or the first one that is more than ``enough``."""
        worst = 0.0
        for trial in self.trials:
            outputs = self._run(rounded, trial)
            strain = float(trial.strain(outputs).max(initial=0.0))
            if strain <= self.limit and not trial.accepts(outputs):
                strain = _REFUSED
            worst = max(worst, strain)
            if worst > enough:
                break
        return worst

    def _of_kept(self, kept: Collection[str], enough: float = np.inf) -> float:
        return self._worst(self.roundings.rounded(kept), enough)

    # ---- the floor -----------------------------------------------------------------------------

    def _out_of_range(self, floor: float) -> frozenset[str]:
        """The nodes whose weights leave the range of half, if keeping them repairs the floor."""
        uses = self.roundings.uses
        beyond = {i for i in self.weights if self._leaves_range(uses[i].tensor)}
        if beyond and self._worst(self.weights - beyond) <= self.limit:
            return frozenset(uses[i].node for i in beyond if uses[i].node)
        self.tell("looking for the weights that cost most")
        first = self.trials[0]
        found = shares(
            self._groups(self.weights), lambda g: self._strain(g, first), runs=24, smallest=0.02 * floor
        )
        cost: defaultdict[str, float] = defaultdict(float)
        for i, strain in found.items():
            cost[uses[i].tensor] += float(strain.max(initial=0.0))
        worst = sorted(cost.items(), key=lambda item: (-item[1], item[0]))
        raise Infeasible("the weights", floor, worst)

    def _leaves_range(self, name: str) -> bool:
        values = self.switches.values(name).astype(np.float32)
        options = self.roundings.options
        half = to_half(values, options.dtype, options.bounds()).astype(np.float32)
        finite = np.isfinite(values)
        size = float(np.linalg.norm(values[finite]))
        with np.errstate(invalid="ignore"):
            moved = float(np.linalg.norm((half - values)[finite]))
        return not np.isfinite(moved) or moved > _LEFT_RANGE * size

    # ---- sensitivity ---------------------------------------------------------------------------

    def _groups(self, of: Collection[int]) -> list[list[int]]:
        """Alike uses together, in the graph's order: what makes the tensor and what reads it."""
        groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for i in sorted(of):
            use = self.roundings.uses[i]
            alone = use.tensor if use.tensor in self.suspects else ""
            groups[use.kind, use.made_by, use.read_by, alone].append(i)
        return list(groups.values())

    def _gains(self, forced: Collection[str], plain: float) -> dict[int, float]:
        """What it takes away to leave each use unrounded."""
        rounded = self.roundings.rounded(forced)
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
                self.tell(f"with {len(kept)} nodes in fp32 the error is {seen[count][1] ** 0.5:.0%}")
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

    def _pruned(self, plan: _Plan, kept: frozenset[str], after: float) -> tuple[frozenset[str], float]:
        """Without the nodes that turn out not to be needed, those that gain least first."""
        worth: defaultdict[str, float] = defaultdict(float)
        for i, nodes in enumerate(self.roundings.needs):
            if nodes is not None and nodes <= kept:
                for node in nodes:
                    worth[node] += plan.gains.get(i, 0.0)
        limit = MARGIN * self.limit if after <= MARGIN * self.limit else self.limit
        for node in sorted(kept, key=lambda n: (worth[n], n))[:TRIALS]:
            fewer = kept - {node}
            strain = self._of_kept(fewer, limit)
            if strain <= limit:
                kept, after = fewer, strain
        return kept, after

    def _in_order(self, kept: frozenset[str]) -> tuple[str, ...]:
        return tuple(n for n in self.roundings.nodes if n in kept)
