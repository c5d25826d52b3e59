"""float32 values into half precision, and what that changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from modelbuild.errors import Diagnostic
from modelbuild.graph.files import Array, numpy_dtype

Mask = npt.NDArray[np.bool_]

_SIGN = np.uint32(0x7FFFFFFF)  # all bits of a float32 but the sign
_INFINITY = int(np.float32(np.inf).view(np.uint32))
# 256 KiB of float32: a block and its copy stay in the cache. 13 ms for 23M values, where one block
# of all of them takes 28 ms and numpy's abs, max and min more.
_BLOCK = 1 << 16
_NAMED = 3  # tensors that a message names


@dataclass(frozen=True)
class Bounds:
    """Finite values are pushed into ``smallest <= |x| <= largest``; zero, infinity, NaN stay."""

    smallest: float
    largest: float


@dataclass(frozen=True)
class Clamped:
    """How many values of one tensor lie outside a bound, and the one farthest out."""

    tensor: str
    count: int
    extreme: float


@dataclass
class Clamping:
    """Everything that ``Bounds`` changed in a model."""

    bounds: Bounds
    raised: list[Clamped] = field(default_factory=list)
    lowered: list[Clamped] = field(default_factory=list)
    values: int = 0

    def look_at(self, tensor: str, array: Array) -> None:
        """Note what is clamped in these float32 values."""
        tiny, huge = _outside(array, self.bounds)
        self.values += array.size
        if tiny[0]:
            self.raised.append(Clamped(tensor, *tiny))
        if huge[0]:
            self.lowered.append(Clamped(tensor, *huge))

    def diagnostics(self) -> Iterator[Diagnostic]:
        """At most one per direction, worst tensors first."""
        if self.lowered:
            worst = sorted(self.lowered, key=lambda c: (-c.extreme, c.tensor))
            yield Diagnostic(
                "value-clamped",
                f"{_count(self.lowered)} became {self.bounds.largest:g} in magnitude, the largest "
                f"allowed: {_listed(worst, self.bounds.largest)}",
                hint="keep the nodes that use them in fp32 with `node_block_list`"
                + (", or raise `max_finite_val`" if self.bounds.largest < 65504 else ""),
                level="warning",
            )
        if self.raised:
            worst = sorted(self.raised, key=lambda c: (-c.count, c.tensor))
            yield Diagnostic(
                "value-clamped",
                f"{_count(self.raised)} of {self.values} became {self.bounds.smallest:g} in "
                f"magnitude, the smallest allowed: {_listed(worst, self.bounds.smallest)}",
                level="info",
            )


def to_half(array: Array, dtype: int, bounds: Bounds) -> Array:
    """Round float32 values to the nearest of element type ``dtype``, ties to even.

    ``bounds`` apply first; what is still beyond the type's range becomes infinite.
    """
    target = numpy_dtype(dtype)
    half = np.empty(array.shape, target)
    flat, out = np.ascontiguousarray(array).reshape(-1), half.reshape(-1)
    with np.errstate(all="ignore"):
        for at in range(0, flat.size, _BLOCK):
            block = flat[at : at + _BLOCK]
            tiny, huge = _masks(block, bounds)
            if tiny is not None or huge is not None:
                block = block.copy()
            if tiny is not None:
                block[tiny] = np.copysign(np.float32(bounds.smallest), block[tiny])
            if huge is not None:
                block[huge] = np.copysign(np.float32(bounds.largest), block[huge])
            out[at : at + _BLOCK] = block.astype(target)
    return half


def _outside(array: Array, bounds: Bounds) -> tuple[tuple[int, float], tuple[int, float]]:
    """``(count, extreme)`` of the values below ``smallest`` and of those above ``largest``."""
    flat = np.ascontiguousarray(array).reshape(-1)
    below, least, above, most = 0, bounds.smallest, 0, bounds.largest
    for at in range(0, flat.size, _BLOCK):
        block = flat[at : at + _BLOCK]
        tiny, huge = _masks(block, bounds)
        if tiny is not None:
            found = np.abs(block[tiny])
            below, least = below + found.size, min(least, float(found.min()))
        if huge is not None:
            found = np.abs(block[huge])
            above, most = above + found.size, max(most, float(found.max()))
    return (below, least), (above, most)


def _masks(block: Array, bounds: Bounds) -> tuple[Mask | None, Mask | None]:
    """Where a block is out of bounds, below and above; None for nowhere, the usual case.

    Magnitudes of float32 sort as the integers of their bits, and 0 - 1 wraps to the largest: the
    smallest non-zero magnitude of a block is one pass, whatever zeros and NaNs are in it.
    """
    smallest, largest = _bits(bounds.smallest), _bits(bounds.largest)
    bits = block.view(np.uint32) & _SIGN
    huge = None
    if int(bits.max()) > largest:
        huge = (bits > largest) & (bits < _INFINITY)
    bits -= np.uint32(1)
    tiny = bits < smallest - 1 if int(bits.min()) < smallest - 1 else None
    return tiny, huge if huge is not None and huge.any() else None


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


def _count(clamped: list[Clamped]) -> str:
    total = sum(c.count for c in clamped)
    return f"{total} value{'s' if total > 1 else ''}"


def _listed(worst: list[Clamped], bound: float) -> str:
    named = [f"{c.tensor} ({c.count}, from {c.extreme:g})" for c in worst[:_NAMED]]
    rest = len(worst) - _NAMED
    return ", ".join(named) + (f" and {rest} more tensors" if rest > 0 else "")
