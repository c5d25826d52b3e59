"""A model, tried: which of the guessed inputs it takes, until patience ends."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelbuild.base.errors import ModelbuildError, first_line
from modelbuild.setup.drafting.values import DraftInput, base

_MOST = 5000  # combinations of guesses; a wrong one fails within a millisecond or so

Run = Callable[[Mapping[str, Any]], Sequence[tuple[str, Any]]]
"""Arrays by input's name -> a label and an array per output; raises what the model raises."""


class OutOfTime(Exception):
    """Patience is over; what was found until now stands."""


@dataclass
class Attempt:
    """Runs a model. ``said`` is what it said of the first guess, which is the likeliest."""

    run: Run
    patience: float  # seconds for all of it
    said: str | None = None
    slowest: dict[int, float] = field(default_factory=dict)  # elements in -> seconds
    _started: float = field(default_factory=time.monotonic)

    def outputs(self, inputs: Sequence[DraftInput], sizes: Mapping[str, int], seed: int = 0) -> Any:
        """Labels and arrays of what comes out at these sizes; None if the model refuses them.

        Raises:
            OutOfTime: patience is over, or would be before this run ends.
        """
        arrays = filled(inputs, sizes, seed)
        elements = sum(a.size for a in arrays.values())
        left = self.patience - (time.monotonic() - self._started)
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
    """The likeliest inputs that the model takes: the first guess for each, then the next ones.

    Raises:
        OutOfTime: before one was found.
    """
    depth = max(2, int(_MOST ** (1 / len(guesses))))
    ranks = itertools.product(*(range(min(len(g), depth)) for g in guesses))
    for rank in sorted(ranks, key=sum):
        inputs = tuple(g[r] for g, r in zip(guesses, rank, strict=True))
        sizes = base(inputs)
        if sizes is not None and trial.holds(inputs, sizes):
            return inputs
    return None
