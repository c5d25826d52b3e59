"""Where int8 ends, chosen from a histogram of magnitudes.

A histogram is counts: first of zeros, then of ``BINS`` bins of one width up to the largest magnitude, each of
which holds the value at its end. Zeros have no say: int8 with zero point 0 holds them exactly whatever the
scale is, and behind a ReLU they would outvote all else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Method = Literal["minmax", "percentile", "entropy", "mse"]
Counts = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]

BINS = 2048
LEVELS = 128  # of magnitude that the entropy is that of, as in TensorRT's calibrator
STEPS = 127  # from zero to the largest number of symmetric int8
PERCENTILE = 99.99


def bins_kept(counts: Counts, method: Method) -> int:
    """At the end of which bin int8 ends: 1 to ``BINS``. All of them where nothing but zeros was seen."""
    filled = counts[1:]
    if method == "minmax" or not filled.any():
        return BINS
    return _CHOOSING[method](filled)


def _percentile(filled: Counts) -> int:
    """The first end that no more than the rest of ``PERCENTILE`` is beyond."""
    below = np.cumsum(filled)
    return int(np.searchsorted(below, below[-1] * (PERCENTILE / 100))) + 1


def _entropy(filled: Counts) -> int:
    """The end at which the distribution loses the least when it is told in ``LEVELS`` levels.

    What is beyond counts with the last bin before that is not empty. A level's mass is spread evenly over
    those of its bins that are not empty; the divergence is Kullback's and Leibler's.
    """
    kept = np.arange(LEVELS, BINS + 1)
    mass, used = _cumulated(filled), _cumulated(filled > 0)
    kept = kept[mass[kept] > 0]
    last = np.maximum.accumulate(np.where(filled > 0, np.arange(BINS), 0))[kept - 1]
    inside = mass[kept]
    beyond = mass[-1] - inside
    # sum p log(p / q), where p are the bins with all that is beyond in the last, and q the levels' means
    own = _cumulated(_x_log_x(filled))[kept] - _x_log_x(filled[last]) + _x_log_x(filled[last] + beyond)
    edges = kept[:, None] * np.arange(LEVELS + 1) // LEVELS
    level, bins = np.diff(mass[edges]), np.diff(used[edges])
    means = np.log(np.maximum(level, 1) / np.maximum(bins, 1))
    of_last = -(-(last + 1) * LEVELS // kept) - 1
    told = (level * means).sum(axis=1) + beyond * means[np.arange(len(kept)), of_last]
    lost = (own - told) / mass[-1] + np.log(inside / mass[-1])
    return int(kept[np.argmin(lost)])


def _mse(filled: Counts) -> int:
    """The end at which the expected squared error of rounding to ``STEPS`` steps, and clipping, is least."""
    return int(np.argmin(np.einsum("ij,j->i", _squared_errors(), filled.astype(np.float64)))) + 1


@cache
def _squared_errors() -> _Floats:
    """The mean squared error of a value in each bin (columns), in bins' widths, where int8 ends with each
    (rows): the values of a bin are taken to lie evenly."""
    edges = np.arange(BINS + 1, dtype=np.float64)
    rows = np.empty((BINS, BINS))  # and no list of rows beside it: it is 32 MiB
    for end in range(1, BINS + 1):
        step = end / STEPS
        inside = np.minimum(edges, end) / step
        whole = np.rint(inside)
        # of (x - rint(x))^2 from 0 on: 1/12 for each whole step, and a third of the rest's cube
        integral = step**3 * (whole / 12 + (inside - whole) ** 3 / 3)
        integral += np.maximum(edges - end, 0) ** 3 / 3
        rows[end - 1] = np.diff(integral)
    return rows


_CHOOSING: dict[str, Callable[[Counts], int]] = {"percentile": _percentile, "entropy": _entropy, "mse": _mse}


def _cumulated(values: npt.NDArray[Any]) -> _Floats:
    """The sum of all before each place, and of all."""
    return np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))


def _x_log_x(values: npt.NDArray[Any]) -> _Floats:
    return np.where(values > 0, values * np.log(np.maximum(values, 1)), 0.0)
