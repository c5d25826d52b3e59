"""Which nodes of a float32 graph are int8, and which of their inputs are quantized how.

A node that sums up products is int8 if all it multiplies has a range: weights have their own, an
activation has that of a calibration. Weights have a scale per channel of the result, so that the
sums of a channel can be scaled once, by one number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from onnx import NodeProto, TensorProto

from modelbuild.graph.files import Model
from modelbuild.graph.naming import graphs, label, prepared
from modelbuild.graph.quantization.residual import Residual, residuals
from modelbuild.graph.types import FLOAT, attribute, domain, tensor_types

OPERATORS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
LARGEST = 127
"""The largest int8 that a range is laid on: with -128 left out, zero is in the middle."""
REDUCED = 63
"""That of weights for kernels that add two products of 8 bits in 16: they never saturate then."""

Base = Literal["fp16", "fp32"]
# What -128 stands for has to be finite in the base precision, too: it is what clipping leaves.
_LARGEST_SCALE = {"fp16": 65504 / 128, "fp32": float(np.finfo(np.float32).max) / 128}


@dataclass(frozen=True)
class Input:
    """One input of a node that is int8.

    ``axis`` is the channel axis of a weight; None: there is one scale for the tensor. ``constant``
    says that it is a weight: an initializer of the model, or a Constant.
    """

    index: int
    tensor: str
    axis: int | None
    constant: bool


@dataclass(frozen=True)
class Point:
    """A node that is int8."""

    node: str
    op_type: str
    inputs: tuple[Input, ...]


@dataclass(frozen=True)
class Int8Options:
    """What is to be int8, and what the rest is in.

    ``held`` are weights that have to stay as they are, since callers can override them: what reads
    one is not int8.
    """

    op_types: tuple[str, ...] = OPERATORS
    op_block_list: tuple[str, ...] = ()
    node_block_list: tuple[str, ...] = ()
    per_channel: bool = True
    reduce_range: bool = False
    base: Base = "fp16"
    held: tuple[str, ...] = ()


def points(
    model: Model,
    options: Int8Options,
    kept: Collection[str] = (),
    thresholds: Mapping[str, float] | None = None,
) -> tuple[Point, ...]:
    """The nodes that are int8, in the graph's order, residual Adds among them.

    ``kept`` are nodes that stay in the base precision, beside those that the options block.
    Without ``thresholds`` every activation counts as one that has a range.
    """
    return Candidates(model, options).points(kept, thresholds)


def activations(model: Model, options: Int8Options) -> tuple[str, ...]:
    """The tensors whose range is needed if nothing is blocked by name, in the graph's order."""
    found = Candidates(model, replace(options, node_block_list=())).points()
    return tuple(dict.fromkeys(i.tensor for point in found for i in point.inputs if not i.constant))


def has_scale(largest: float, base: Base, levels: int = LARGEST) -> bool:
    """Whether magnitudes of up to ``largest`` have a scale in the base precision."""
    return largest >= 0 and largest / levels <= _LARGEST_SCALE[base]


class Candidates:
    """What could be int8 in a model; which of it is, for one list of kept nodes after the other.

    Names are those of the model with distinct names (``naming.prepared``).
    """

    def __init__(self, model: Model, options: Int8Options) -> None:
        self.model, self.options = model, options
        self._proto = prepared(model.proto)
        self._types = tensor_types(self._proto)
        own = {tensor.name for tensor in self._proto.graph.initializer}
        self._overridden = {value.name for value in self._proto.graph.input} & own | set(options.held)
        self._weights = dict(self._constants())
        self._usable: dict[str, bool] = {}
        self._order = [label(node) for node in self._proto.graph.node]
        count = Counter(self._order)
        # One of two nodes of a name cannot be told from the other.
        self._blocked = frozenset({*options.node_block_list, *(n for n in self._order if count[n] > 1)})
        products = [point for node in self._proto.graph.node if (point := self._product(node)) is not None]
        self._products = {point.node: point for point in products}
        self._residuals = {found.node: found for found in self._found_residuals()}

    def points(
        self, kept: Collection[str] = (), thresholds: Mapping[str, float] | None = None
    ) -> tuple[Point, ...]:
        """As the function of this name."""
        out = self._blocked.union(kept)
        chosen = {n: p for n, p in self._products.items() if n not in out and self._ranged(p, thresholds)}
        for name, found in self._residuals.items():
            sides = tuple(Input(i, tensor, None, False) for i, tensor in enumerate(found.sides))
            point = Point(name, "Add", sides)
            if name not in out and found.holds(chosen) and self._ranged(point, thresholds):
                chosen[name] = point
        return tuple(chosen[name] for name in self._order if name in chosen)

    # ---- what reads what -------------------------------------------------------------------------

    def _constants(self) -> Iterator[tuple[str, TensorProto]]:
        """The float32 weights of the main graph that no caller can override."""
        for tensor in self._proto.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT and tensor.name not in self._overridden:
                yield tensor.name, tensor
        for node in self._proto.graph.node:
            if node.op_type == "Constant" and not domain(node):
                value = attribute(node, "value")
                if value is not None and value.t.data_type == TensorProto.FLOAT:
                    yield node.output[0], value.t

    def _product(self, node: NodeProto) -> Point | None:
        """What a node would be as int8; None if it cannot be that."""
        if domain(node) or node.op_type not in OPERATORS or not self._is_listed(node.op_type):
            return None
        inputs = tuple(self._input(node, index, name) for index, name in enumerate(node.input[:2]))
        if len(inputs) < 2 or all(i.constant for i in inputs):
            return None
        for tensor in (inputs[0].tensor, inputs[1].tensor, node.output[0]):
            if self._types.get(tensor) != FLOAT or tensor in self._overridden:
                return None
        return Point(label(node), node.op_type, inputs)

    def _is_listed(self, op_type: str) -> bool:
        return op_type in self.options.op_types and op_type not in self.options.op_block_list

    def _input(self, node: NodeProto, index: int, name: str) -> Input:
        weight = self._weights.get(name)
        if weight is None:
            return Input(index, name, None, False)
        axis = channel_axis(node, index, len(weight.dims)) if self.options.per_channel else None
        return Input(index, name, axis, True)

    def _found_residuals(self) -> list[Residual]:
        if "Add" in self.options.op_block_list:
            return []
        constants = {tensor.name for graph in graphs(self._proto.graph) for tensor in graph.initializer}
        return residuals(self._proto, self._types, constants | self._weights.keys(), self._products)

    # ---- ranges ----------------------------------------------------------------------------------

    def _ranged(self, point: Point, thresholds: Mapping[str, float] | None) -> bool:
        """Whether every input has a range."""
        base = self.options.base
        for given in point.inputs:
            if given.constant:
                if not self._weight_has_scale(given.tensor):
                    return False
            elif thresholds is not None and not has_scale(thresholds.get(given.tensor, math.nan), base):
                return False
        return True

    def _weight_has_scale(self, name: str) -> bool:
        if name not in self._usable:
            values = self.model.array(self._weights[name])
            largest = max(float(values.max()), -float(values.min())) if values.size else math.nan
            levels = REDUCED if self.options.reduce_range else LARGEST
            self._usable[name] = has_scale(largest, self.options.base, levels)
            if name in self.model.weights:
                self.model.weights[name].release()
        return self._usable[name]


def channel_axis(node: NodeProto, index: int, rank: int) -> int | None:
    """The axis of a weight along which its scales may differ; None: it has one scale.

    Of a MatMul that is a column of the second factor or a row of the first. Only of matrices: ONNX
    Runtime's integer kernels know no column of a stack of matrices and fail when they are run.
    """
    match node.op_type:
        case "Conv":
            return 0 if index == 1 else None
        case "ConvTranspose":
            return 1 if index == 1 else None
        case "MatMul":
            return index if rank == 2 else None
        case "Gemm":
            turned = attribute(node, "transB" if index else "transA")
            return 1 - index if turned is not None and turned.i else index
        case _:
            return None
