"""A model, tried: which of the guessed inputs it takes, until patience ends."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelbuild.base.errors import ModelbuildError, first_line
from modelbuild.setup.drafting.values import DraftInput, base

_MOST = 5000  # combinations of guesses; a wrong one fails within a millisecond or so
_NEAR = 3  # steps away from the likeliest of each: what is tried before anything is learned from failures

Run = Callable[[Mapping[str, Any]], Sequence[tuple[str, Any]]]
"""Arrays by input's name -> a label and an array per output; raises what the model raises."""


class OutOfTime(Exception):
    """Patience is over; what was found until now stands."""


@dataclass
class Attempt:
    """Runs a model. ``said`` is what it said of the first guess, which is the likeliest. ``reach`` tells how
    many operations the last run came through, if somebody counts them."""

    run: Run
    patience: float  # seconds for all of it
    said: str | None = None
    reach: Callable[[], int] | None = None
    slowest: dict[int, float] = field(default_factory=dict)  # elements in -> seconds
    _started: float = field(default_factory=time.monotonic)

    def outputs(self, inputs: Sequence[DraftInput], sizes: Mapping[str, int], seed: int = 0) -> Any:
        """Labels and arrays of what comes out at these sizes; None if the model refuses them.

        Raises:
            OutOfTime: patience is over, or would be before this run ends.
        """
        arrays = filled(inputs, sizes, seed)
        elements = sum(a.size for a in arrays.values())
        left = self.left()
        if left <= 0 or self._expected(elements) > left:
            raise OutOfTime
        start = time.monotonic()
        try:
            found = self.run(arrays)
            self._look_at(found)
        except (Exception, SystemExit) as error:
            said = (
                error.diagnostics[0].message if isinstance(error, ModelbuildError) else first_line(error, 300)
            )
            self.said = self.said or said
            return None
        self.slowest[elements] = time.monotonic() - start
        return found

    def left(self) -> float:
        """Seconds of patience."""
        return self.patience - (time.monotonic() - self._started)

    def holds(self, inputs: Sequence[DraftInput], sizes: Mapping[str, int]) -> bool:
        return self.outputs(inputs, sizes) is not None

    def repeats(self, arrays: Mapping[str, Any], outputs: Sequence[tuple[str, Any]]) -> bool:
        """Whether the model still gives these outputs; one that keeps something of each run may not."""
        import numpy as np

        try:
            found = self.run(arrays)
        except (Exception, SystemExit):
            return False
        return len(found) == len(outputs) and all(
            a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5)
            for (_, a), (_, b) in zip(found, outputs, strict=True)
        )

    def _expected(self, elements: int) -> float:
        """Seconds, from the largest run until now: work grows with the elements at least."""
        if not self.slowest:
            return 0.0
        largest = max(self.slowest)
        return self.slowest[largest] * elements / max(largest, 1)

    @staticmethod
    def _look_at(found: Sequence[tuple[str, Any]]) -> None:
        import numpy as np

        if not found:
            raise ValueError("forward() returns no tensor")
        for label, array in found:
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"output {label} is not finite")


def filled(inputs: Sequence[DraftInput], sizes: Mapping[str, int], seed: int = 0) -> dict[str, Any]:
    """Values for these inputs; whole numbers reach both of their ends, as a table would notice."""
    from modelbuild.steps import samples

    arrays = samples.random_inputs([i.spec for i in inputs], sizes, (seed,))
    for given in inputs:
        low, high = given.values.low, given.values.high
        if low is not None and high is not None and "int" in given.dtype and arrays[given.name].size:
            arrays[given.name].flat[-1] = int(low)
            arrays[given.name].flat[0] = int(high) - 1
    return arrays


def search(trial: Attempt, guesses: Sequence[Sequence[DraftInput]]) -> tuple[DraftInput, ...] | None:
    """The likeliest inputs that the model takes: the first guess for each and those near to it, then those
    with which it comes farthest, then all others.

    Raises:
        OutOfTime: before one was found.
    """
    found = _InputSearch(trial, guesses)
    depth = max(2, int(_MOST ** (1 / len(guesses))))
    ranks = itertools.product(*(range(min(len(g), depth)) for g in guesses))
    every = sorted(ranks, key=sum)
    near = itertools.takewhile(lambda rank: sum(rank) <= _NEAR, every)
    return found.among(near) or found.farthest() or found.among(every)


@dataclass
class _InputSearch:
    """``ranks`` say which guess each input has; ``_reached`` how far the model came with what failed."""

    trial: Attempt
    guesses: Sequence[Sequence[DraftInput]]
    _reached: dict[tuple[int, ...], int] = field(default_factory=dict)

    def among(self, ranks: Iterable[tuple[int, ...]]) -> tuple[DraftInput, ...] | None:
        """The first of these that run."""
        return next(filter(None, map(self._inputs, ranks)), None)

    def farthest(self) -> tuple[DraftInput, ...] | None:
        """Inputs that run, found one by one: a model that takes one of them fails at a later operation.

        Of those that come equally far the likeliest is taken; where nothing comes farther, it ends. Each
        shape is tried at its first sizes, and those that are found last at the others, too.
        """
        if self.trial.reach is None or len(self.guesses) == 1:
            return None
        best = max(self._reached, key=lambda rank: (self._reached[rank], -sum(rank)))
        before = -2
        while self._reached[best] > before:
            before = self._reached[best]
            for place in range(len(self.guesses)):
                others = [(*best[:place], rank, *best[place + 1 :]) for rank in self._firsts(place)]
                running = next((ranks for ranks in others if self._inputs(ranks)), None)
                if running is not None:
                    return self._likeliest(running)
                best = max([best, *others], key=lambda rank: self._reached[rank])
        return self.among(self._at_other_sizes(best))

    def _firsts(self, place: int) -> list[int]:
        """Of the guesses for an input the first of each shape, dtype and values."""
        return sorted({_kind(g): rank for rank, g in reversed([*enumerate(self.guesses[place])])}.values())

    def _likeliest(self, ranks: tuple[int, ...]) -> tuple[DraftInput, ...] | None:
        """Each input as its likeliest guess that runs with the others: another one may have come farther."""
        with contextlib.suppress(OutOfTime):
            for place, rank in enumerate(ranks):
                likelier = ((*ranks[:place], r, *ranks[place + 1 :]) for r in self._firsts(place) if r < rank)
                ranks = next(filter(self._inputs, likelier), ranks)
        return tuple(g[r] for g, r in zip(self.guesses, ranks, strict=True))

    def _at_other_sizes(self, ranks: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """The same inputs, each of those with an axis at another size that it may be met at."""
        chosen = [guesses[rank] for guesses, rank in zip(self.guesses, ranks, strict=True)]
        alike = [
            {
                tuple(g.sizes.items()): rank
                for rank, g in reversed([*enumerate(guesses)])
                if _kind(g) == _kind(one)
            }
            for guesses, one in zip(self.guesses, chosen, strict=True)
        ]
        for sizes in dict.fromkeys(s for ways in alike for s in sorted(ways, key=ways.__getitem__)):
            yield tuple(ways.get(sizes, rank) for ways, rank in zip(alike, ranks, strict=True))

    def _inputs(self, ranks: tuple[int, ...]) -> tuple[DraftInput, ...] | None:
        """The inputs of these guesses if they run; what has failed is not tried again."""
        if ranks in self._reached:
            return None
        inputs = tuple(g[r] for g, r in zip(self.guesses, ranks, strict=True))
        sizes = base(inputs)
        if sizes is not None and self.trial.holds(inputs, sizes):
            return inputs
        self._reached[ranks] = self.trial.reach() if sizes is not None and self.trial.reach else -1
        return None


def _kind(given: DraftInput) -> object:
    """What is the same for guesses that differ in sizes alone."""
    return given.shape, given.dtype, given.values
