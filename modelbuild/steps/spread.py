"""How the errors of an output are spread: how many elements are off by how much."""

from __future__ import annotations

from typing import Any

import numpy as np

from modelbuild.steps.samples import Array

_BINS = 40  # of a factor of two each: twelve decades
_BIAS = 127  # of the exponent in a binary32
_NOT_FINITE = 255


class Spread:
    """A histogram of |candidate - reference| over all arrays that were added.

    An error's bin is its exponent, read from its bits: 53 ms for the 12.6 million elements of a
    BERT's largest output, where ``compare.distance`` takes 260.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_NOT_FINITE + 1, np.int64)

    def add(self, reference: Array, candidate: Array) -> None:
        """Count the elements of two arrays of one shape and type; integers have no histogram."""
        if reference.dtype.kind != "f":
            return
        with np.errstate(invalid="ignore", over="ignore"):  # infinities of one sign agree
            error = np.abs(candidate - reference).astype(np.float32, copy=False)
        exponents = error.view(np.int32).ravel() >> 23
        self._counts += np.bincount(exponents, minlength=_NOT_FINITE + 1)

    def as_json(self) -> dict[str, Any] | None:
        """``counts`` of bins from ``smallest`` on, in the output's unit, each twice as far as the one
        before; smaller errors are in the first. ``equal`` elements have none, and those that are not
        finite are not counted. None if nothing was.
        """
        finite = self._counts[1:_NOT_FINITE]
        if not self._counts[:_NOT_FINITE].any():
            return None
        found = np.flatnonzero(finite)
        counts: list[int] = []
        first = 0
        if found.size:
            first, last = max(int(found[0]), int(found[-1]) - _BINS + 1), int(found[-1])
            counts = [int(n) for n in finite[first : last + 1]]
            counts[0] += int(finite[:first].sum())
        return {
            "smallest": 2.0 ** (first + 1 - _BIAS),
            "counts": counts,
            "equal": int(self._counts[0]),
        }
