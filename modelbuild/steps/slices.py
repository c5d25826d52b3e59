"""Parts of an output that have a size of their own: scores beside boxes, what is allowed beside a fill.

One norm over unlike parts sees the large ones alone. A part counts as small by nature, and not by
chance, where both its size and the variation inside it are far below those of another slice along the
same axis: a channel that only happens to be near zero varies as much as its neighbours do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from modelbuild.steps.samples import Array

_FAR = 20.0  # times smaller than the largest slice
_FILL = 100.0  # times smaller than a value that is repeated
_LEAST = 4  # elements that tell how a slice varies
_LOOK = 64  # elements of each slice that are looked at; 16 where there are thousands of slices
_MANY = 4096
_ALIVE = 0.5  # share of a slice that is not zero; what survives a ReLU by a hair is noise
_NOISE = 4 * 2.0**-23  # the reference's own rounding beside its largest slice


@dataclass(frozen=True)
class PartError:
    """A part's error: ``relative`` to its own size, what rounds with the large parts taken off."""

    name: str
    relative: float
    worst: int  # the flat index of the element with the largest error


def parts(ref: Array, error: Array) -> Iterator[PartError]:
    """The parts of a float64 output that have a size of their own."""
    if ref.size < 2 * _LEAST:
        return
    for axis in range(ref.ndim):
        small, peak = _small(ref, axis)
        if small.size:
            yield _worst(ref, error, axis, small, peak)
    yield from _beside_fill(ref, error)


def _small(ref: Array, axis: int) -> tuple[Array, float]:
    """The slices along an axis that are far smaller than its largest, and the size of that."""
    count = ref.shape[axis]
    none = np.empty(0, np.int64)
    if count < 2 or ref.size // count < _LEAST:
        return none, 0.0
    seen = _sampled(ref, axis)
    sizes = np.sqrt(np.mean(seen * seen, axis=1))
    varied = np.std(seen, axis=1)
    peak = int(np.argmax(sizes))
    # Where the largest hardly varies, its variation is no measure.
    if sizes[peak] == 0 or varied[peak] < 1e-3 * sizes[peak]:
        return none, 0.0
    small = (sizes > 0) & (sizes * _FAR < sizes[peak]) & (varied * _FAR < varied[peak])
    if small.any():
        small &= np.mean(seen != 0, axis=1) >= _ALIVE
    return np.flatnonzero(small), float(sizes[peak])


def _sampled(ref: Array, axis: int) -> Array:
    """A row for each slice, of so many elements spread over it that its size is seen."""
    rows = np.moveaxis(ref, axis, 0)
    most = _LOOK if ref.shape[axis] <= _MANY else _LOOK // 4
    steps, left = [slice(None)], most
    for size in rows.shape[1:]:
        take = min(size, max(1, left))
        left //= take
        steps.append(slice(None, None, -(-size // take)))
    return rows[tuple(steps)].reshape(rows.shape[0], -1)


def _worst(ref: Array, error: Array, axis: int, small: Array, peak: float) -> PartError:
    picked = np.take(ref, small, axis)
    wrong = np.take(error, small, axis)
    others = tuple(a for a in range(ref.ndim) if a != axis)
    size = np.sqrt(np.mean(picked * picked, axis=others))
    off = np.maximum(np.sqrt(np.mean(wrong * wrong, axis=others)) - _NOISE * peak, 0.0)
    relative = np.divide(off, size, out=np.zeros_like(off), where=size > 0)
    at = int(np.argmax(relative))
    index = int(small[at])
    rest = (*ref.shape[:axis], *ref.shape[axis + 1 :])
    inner = [int(i) for i in np.unravel_index(int(np.argmax(np.take(error, index, axis))), rest)]
    element = [*inner[:axis], index, *inner[axis:]]
    place = ", ".join(str(index) if a == axis else ":" for a in range(ref.ndim))
    flat = int(np.ravel_multi_index(element, ref.shape))
    return PartError(f"slice [{place}]", float(relative[at]), flat)


def _beside_fill(ref: Array, error: Array) -> Iterator[PartError]:
    """What is left without a large value that is repeated, as masks fill in."""
    low, high = float(ref.min()), float(ref.max())
    fill = low if -low > high else high
    look = ref.reshape(-1)[:: max(1, ref.size // _MANY)]
    if abs(fill) < _FILL * float(np.median(np.abs(look))) and np.count_nonzero(look == fill) < 2:
        return
    rest = ref != fill
    count = int(np.count_nonzero(rest))
    if count < _LEAST or ref.size - count < 2:
        return
    left = ref[rest]
    scale = float(np.abs(left).max())
    if scale == 0 or scale * _FILL / 5 > abs(fill):
        return
    size = scale * math.sqrt(float(np.mean((left / scale) ** 2)))
    if size * _FILL > abs(fill):
        return
    off = math.sqrt(float(np.mean(error[rest] ** 2)))
    worst = int(np.argmax(np.where(rest, error, -1.0)))
    yield PartError(f"all but the fill {fill:.6g}", off / size, worst)
