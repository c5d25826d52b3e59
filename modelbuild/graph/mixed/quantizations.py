"""Every place that int8 rounds, and what it takes to leave it unrounded."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from functools import partial

from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_node

from modelbuild.graph.files import Array, Model
from modelbuild.graph.mixed.reduction import Rounded, Use, Wire
from modelbuild.graph.mixed.roundings import with_lifted_constants
from modelbuild.graph.naming import Names, label, prepared
from modelbuild.graph.quantization.arithmetic import constant, rounded
from modelbuild.graph.quantization.points import Candidates, Int8Options, Point
from modelbuild.graph.quantization.scales import activation_scales, fake_quantized
from modelbuild.graph.types import tensor_types


class Quantizations:
    """The uses of one float32 model that are int8 with these options: a node's inputs, each by itself."""

    def __init__(self, model: Model, thresholds: Mapping[str, float], options: Int8Options) -> None:
        self.model = model
        self.options = options
        self.outside = options.base
        self.proto = with_lifted_constants(prepared(model.proto))
        self.types = tensor_types(self.proto)
        self._thresholds = thresholds
        self._candidates = Candidates(model, options)
        points = self._points(())
        self._scales = activation_scales(points, thresholds, options.base)
        self._sizes = {t.name: math.prod(t.dims) for t in self.proto.graph.initializer}
        makers = {name: node.op_type for node in self.proto.graph.node for name in node.output}
        self.uses = tuple(
            Use(
                "weight" if given.constant else "value", given.tensor, point.node,
                makers.get(given.tensor, ""), point.op_type, number, given.index, given.axis,
            )
            for number, point in enumerate(points)
            for given in point.inputs
        )  # fmt: skip
        self.needs = tuple(frozenset({use.node}) for use in self.uses)
        self.nodes = tuple(point.node for point in points)
        self.work = frozenset(point.node for point in points if point.op_type != "Add")

    def _points(self, kept: Collection[str]) -> tuple[Point, ...]:
        return self._candidates.points(kept, self._thresholds)

    def rounded(self, kept: Collection[str]) -> Rounded:
        """The uses that are int8 if these nodes stay out; an Add goes with its neighbours."""
        chosen = {point.node for point in self._points(kept)}
        return frozenset(i for i, use in enumerate(self.uses) if use.node in chosen)

    def share(self, kept: Collection[str]) -> tuple[float, int, int]:
        """How much is int8: the share of the weights' elements or of the nodes, whichever is larger."""
        inside = self.rounded(kept)
        chosen = {self.uses[i].node for i in inside}
        every = frozenset(range(len(self.uses)))
        sizes = [sum(self._sizes[t] for t in self._weights(uses)) for uses in (inside, every)]
        counts = (len(chosen & self.work), len(self.work))
        shares = [part / whole for part, whole in (counts, sizes) if whole]
        return max(shares, default=0.0), len(chosen), len(self.nodes)

    def _weights(self, uses: Collection[int]) -> set[str]:
        return {self.uses[i].tensor for i in uses if self.uses[i].kind == "weight"}

    # ---- in a copy of the graph ------------------------------------------------------------------

    def wires(self, proto: ModelProto) -> list[Wire | None]:
        nodes = {label(node): node for node in proto.graph.node}
        return [Wire(nodes[use.node], partial(_read, nodes[use.node], use.port)) for use in self.uses]

    def pair(self, use: Use, names: Names) -> Iterator[NodeProto]:
        scale, whole, back = (names.take(f"{use.tensor}_{part}") for part in ("scale", "int8", "dequantized"))
        yield constant(scale, float(self._scales[use.tensor]), names)
        yield from rounded(use.tensor, scale, 0, TensorProto.INT8, whole, names)
        yield make_node("Mul", [whole, scale], [back], names.take(back))

    def as_rounded(self, use: Use, values: Array) -> Array:
        return fake_quantized(values, use.axis, self.options.base, self.options.reduce_range)

    def in_steps(self, node: NodeProto, names: Names) -> list[NodeProto]:
        raise TypeError("no state is int8")


def _read(node: NodeProto, index: int, tensor: str) -> None:
    node.input[index] = tensor
