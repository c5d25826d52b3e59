"""float32 values into half precision, and what that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from modelbuild.base.errors import Diagnostic
from modelbuild.graph.files import Array, numpy_dtype
from modelbuild.wording.phrases import few, plural

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_SIGN = np.uint32(0x7FFFFFFF)  # all bits of a float32 but the sign
_INFINITY = int(np.float32(np.inf).view(np.uint32))
# 256 KiB of float32: a block and its copy stay in the cache. 13 ms for 23M values, where one block
# of all of them takes 28 ms and numpy's abs, max and min more.
_BLOCK = 1 << 16
_NAMED = 3  # tensors that a message names


@dataclass(frozen=True)
class Band:
    """Finite values are pushed into ``smallest <= |x| <= largest``; zero, infinity, NaN stay."""

    smallest: float
    largest: float


# float16: onnxconverter-common's default, two steps from zero, and the largest that it holds.
# bfloat16 has float32's exponents, so only what would round to infinity is clamped.
BOUNDS = {
    int(TensorProto.FLOAT16): Band(1e-7, 65504.0),
    int(TensorProto.BFLOAT16): Band(0.0, float.fromhex("0x1.fep+127")),
}
# How far apart neighbours are, relative to them: a clamp that moves a value by less is no more than
# a rounding, as of a mask of float32's lowest in bfloat16.
_STEP = {int(TensorProto.FLOAT16): 2.0**-10, int(TensorProto.BFLOAT16): 2.0**-7}


@dataclass(frozen=True)
class Clamped:
    """How many values of one tensor lie beyond a bound, and the one farthest beyond."""

    tensor: str
    count: int
    extreme: float
    highest: float


@dataclass
class Clamping:
    """Everything that ``Band`` changed in a model."""

    bounds: Band
    dtype: int = TensorProto.FLOAT16
    raised: list[Clamped] = field(default_factory=list)
    lowered: list[Clamped] = field(default_factory=list)
    values: int = 0

    def look_at(self, tensor: str, array: Array) -> None:
        """Note what is clamped in these float32 values."""
        self.values += array.size
        below, above = _outside(array, self.bounds)
        if below:
            tiny = np.concatenate(below)
            self.raised.append(_clamped(tensor, tiny, np.argmin))
        if above:
            huge = np.concatenate(above)
            self.lowered.append(_clamped(tensor, huge, np.argmax))

    def diagnostics(self, fills: Callable[[Iterable[str]], set[str]]) -> Iterator[Diagnostic]:
        """At most one per direction, worst tensors first.

        ``fills`` are those of some tensors in which a low number is as good as any other: where they
        are as low as the type allows, there is nothing to say of them.
        """
        bound, most = self.bounds.largest, BOUNDS[self.dtype].largest
        low = [c.tensor for c in self.lowered if c.highest < 0] if bound >= most else []
        silent = fills(low) if low else set()
        lowered = [c for c in self.lowered if c.tensor not in silent]
        if lowered:
            worst = sorted(lowered, key=lambda c: (-abs(c.extreme), c.tensor))
            said = f"{_values(lowered)} beyond ±{bound:g} became ±{bound:g}: {_listed(worst)}"
            hint = "keep the nodes that use them in fp32 with `node_block_list`"
            hint += ", or raise `max_finite_val`" if bound < most else ""
            if abs(worst[0].extreme) <= bound * (1 + _STEP[self.dtype]):
                yield Diagnostic("value-clamped", said, level="info")
            else:
                yield Diagnostic("value-clamped", said, hint, level="warning")
        if self.raised:
            bound = self.bounds.smallest
            worst = sorted(self.raised, key=lambda c: (-c.count, c.tensor))
            yield Diagnostic(
                "value-clamped",
                f"{_values(self.raised)} of {self.values}, not zero but closer to it than "
                f"±{bound:g}, became ±{bound:g}: {_listed(worst)}",
                level="info",
            )


def _clamped(tensor: str, values: Floats, most: Callable[[Floats], Any]) -> Clamped:
    return Clamped(tensor, values.size, float(values[most(np.abs(values))]), float(values.max()))


def to_half(array: Array, dtype: int, bounds: Band) -> Array:
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


def _outside(array: Array, bounds: Band) -> tuple[list[Floats], list[Floats]]:
    """The values below ``smallest`` and those above ``largest``, in pieces."""
    flat = np.ascontiguousarray(array, np.float32).reshape(-1)
    below: list[Floats] = []
    above: list[Floats] = []
    for at in range(0, flat.size, _BLOCK):
        block = flat[at : at + _BLOCK]
        tiny, huge = _masks(block, bounds)
        if tiny is not None:
            below.append(block[tiny])
        if huge is not None:
            above.append(block[huge])
    return below, above


def _masks(block: Array, bounds: Band) -> tuple[Mask | None, Mask | None]:
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


def _values(clamped: list[Clamped]) -> str:
    return plural(sum(c.count for c in clamped), "value")


def _listed(worst: list[Clamped]) -> str:
    named = [f"{c.tensor} ({c.count}, from {c.extreme:g})" for c in worst]
    return few(named, _NAMED, of=" tensors")
