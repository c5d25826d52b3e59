"""Scales of symmetric int8, and weights in it.

A scale is a float32 number that the base precision holds exactly, so that the file computes what
was judged, in whichever of the two it is written. It is rounded up: what was within the range stays
within it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbuild.graph.files import Array
from modelbuild.graph.quantization.points import LARGEST, REDUCED, Base, Point

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.int8]

# The smallest scale: of float16 what `min_positive_val` makes of smaller numbers, of float32 a normal one.
_SMALLEST = {"fp16": np.float32(np.float16(1e-7)), "fp32": np.finfo(np.float32).tiny}
_DTYPE: dict[str, type[np.floating[Any]]] = {"fp16": np.float16, "fp32": np.float32}
_BLOCK = 1 << 20  # values that are computed at a time


def scales_of(largest: npt.ArrayLike, base: Base, levels: int = LARGEST) -> Floats:
    """The scales with which magnitudes of up to ``largest`` are within ``levels``; 1 where it is zero.

    They are of ``points.has_scale``.
    """
    exact = np.asarray(largest, np.float64) / levels
    dtype = _DTYPE[base]
    near = exact.astype(dtype)
    up = np.where(near.astype(np.float64) < exact, np.nextafter(near, dtype(np.inf)), near)
    found = np.maximum(up.astype(np.float32), _SMALLEST[base])
    return np.asarray(np.where(exact == 0, np.float32(1), found), np.float32)


def activation_scales(
    points: Sequence[Point], thresholds: Mapping[str, float], base: Base
) -> dict[str, np.float32]:
    """The scale of each activation that these nodes read, in their order.

    The two sides of a residual Add have one scale, that of the larger threshold; and so have all
    tensors that are sides of Adds with a side in common.
    """
    tensors = dict.fromkeys(i.tensor for point in points for i in point.inputs if not i.constant)
    parent = {tensor: tensor for tensor in tensors}

    def root(tensor: str) -> str:
        while parent[tensor] != tensor:
            parent[tensor] = tensor = parent[parent[tensor]]
        return tensor

    for point in points:
        if point.op_type == "Add":
            left, right = (root(i.tensor) for i in point.inputs)
            parent[right] = left
    most: dict[str, float] = {}
    for tensor in tensors:
        most[root(tensor)] = max(thresholds[tensor], most.get(root(tensor), 0.0))
    return {tensor: np.float32(scales_of(most[root(tensor)], base)) for tensor in tensors}


# ---- weights -------------------------------------------------------------------------------------


def levels(reduce_range: bool) -> int:
    """The largest int8 of a weight."""
    return REDUCED if reduce_range else LARGEST


def weight_scales(values: Array, axis: int | None, base: Base, reduce_range: bool) -> Floats:
    """The scales of a weight, one for each index of ``axis``; a scalar without it."""
    view = _in_channels(values, axis)
    low, high = view.min(axis=(0, 2)), view.max(axis=(0, 2))
    found = scales_of(np.maximum(high, -low), base, levels(reduce_range))
    return found if axis is not None else found.reshape(())


def quantized(values: Array, scales: Floats, axis: int | None, reduce_range: bool) -> Bytes:
    """A weight in int8, of the scales that are in the file: to the nearest, ties to even."""
    most = levels(reduce_range)
    made = np.empty(values.shape, np.int8)
    source, target = _in_channels(values, axis), _in_channels(made, axis)
    for part, factors in _blocks(source, scales):
        block = source[part] / factors
        np.rint(block, out=block)
        np.clip(block, -most, most, out=block)
        target[part] = block
    return made


def restored(whole: Bytes, scales: Floats, axis: int | None) -> Floats:
    """What int8 values stand for, in float32."""
    made = np.empty(whole.shape, np.float32)
    source, target = _in_channels(whole, axis), _in_channels(made, axis)
    for part, factors in _blocks(source, scales):
        target[part] = source[part] * factors
    return made


def fake_quantized(values: Array, axis: int | None, base: Base, reduce_range: bool) -> Floats:
    """A weight as its int8 values have it, in float32."""
    scales = weight_scales(values, axis, base, reduce_range)
    return restored(quantized(values, scales, axis, reduce_range), scales, axis)


def _in_channels(values: Array, axis: int | None) -> Any:
    """A view of an array as (before the axis, axis, behind it); without one, as a single channel."""
    if axis is None:
        return values.reshape(1, 1, -1)
    return values.reshape(int(np.prod(values.shape[:axis], dtype=np.int64)), values.shape[axis], -1)


def _blocks(view: Any, scales: Floats) -> Iterator[tuple[tuple[slice, slice, slice], Floats]]:
    """Parts of a view of three axes that are small enough, each with the scales of its channels."""
    before, channels, behind = view.shape
    factors = scales.reshape(1, channels, 1)
    deep = max(1, min(behind, _BLOCK))
    wide = max(1, min(channels, _BLOCK // deep))
    high = max(1, _BLOCK // (deep * wide))
    for i in range(0, before, high):
        for j in range(0, channels, wide):
            for k in range(0, behind, deep):
                yield (slice(i, i + high), slice(j, j + wide), slice(k, k + deep)), factors[:, j : j + wide]
