"""A float32 graph with QuantizeLinear/DequantizeLinear pairs on what its int8 nodes multiply.

An activation that is read as int8 has one pair for all such readers, right before the first of
them. A weight is in the file as int8, with a DequantizeLinear; its float32 values stay only where
somebody else reads them. Nothing else of the graph moves: what a pair makes is read by int8 nodes
alone, and an output of the model stays what it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from modelbuild.graph.files import ON_DISK_FROM, Array, Model, Weight, empty_initializer
from modelbuild.graph.naming import Names, graphs, label, prepared, set_nodes
from modelbuild.graph.quantization.opsets import NEEDED
from modelbuild.graph.quantization.points import Candidates, Input, Int8Options, Point
from modelbuild.graph.quantization.scales import activation_scales, quantized, weight_scales
from modelbuild.graph.shapes import forget
from modelbuild.graph.types import attribute, domain


def quantize(
    model: Model, thresholds: Mapping[str, float], options: Int8Options, kept: Collection[str] = ()
) -> tuple[Model, tuple[Point, ...]]:
    """The graph with pairs, still in float32, and the nodes that are int8 in it.

    Every scale is a number that the base precision holds, so that ``precision.convert`` changes none.

    Raises:
        ValueError: the graph's opset is lower than the base precision needs (``opsets.NEEDED``).
    """
    if model.opset < NEEDED[options.base]:
        raise ValueError(f"int8 with base {options.base} needs opset {NEEDED[options.base]}")
    found = Candidates(model, options).points(kept, thresholds)
    insertion = _Insertion(model, options, activation_scales(found, thresholds, options.base))
    return insertion.run(found), found


class _Insertion:
    def __init__(self, model: Model, options: Int8Options, scales: Mapping[str, np.float32]) -> None:
        self.model, self.options, self.scales = model, options, scales
        self.proto = prepared(model.proto)
        self.names = Names.of(self.proto)
        self.weights = dict(model.weights)
        self.made: dict[tuple[str, int | None], str] = {}  # what to read instead of a tensor
        self.nodes: list[NodeProto] = []
        self.zeros: dict[tuple[int, ...], str] = {}
        self.constants = dict(_constants(self.proto))

    def run(self, points: Collection[Point]) -> Model:
        chosen = {point.node: point for point in points}
        for node in list(self.proto.graph.node):
            point = chosen.pop(label(node), None)
            for given in point.inputs if point is not None else ():
                node.input[given.index] = self._pair(given)
            self.nodes.append(node)
        forget(self.proto.graph)
        set_nodes(self.proto.graph, self.nodes)
        self._drop({tensor for tensor, _ in self.made} & self.constants.keys())
        return Model(self.proto, self.weights)

    def _pair(self, given: Input) -> str:
        """The dequantized version of a tensor, made here for the first that reads it."""
        key = given.tensor, given.axis
        if key not in self.made:
            self.made[key] = self._weight(given) if given.constant else self._activation(given.tensor)
        return self.made[key]

    def _activation(self, tensor: str) -> str:
        scale = self._initializer(f"{tensor}_scale", np.asarray(self.scales[tensor], np.float32))
        whole = self.names.take(f"{tensor}_int8")
        self._node("QuantizeLinear", [tensor, scale, self._zero(())], whole, tensor, None)
        return self._dequantized(tensor, whole, scale, ())

    def _weight(self, given: Input) -> str:
        options, axis = self.options, given.axis
        tensor = self.constants[given.tensor]
        values = self.model.array(tensor)
        found = weight_scales(values, axis, options.base, options.reduce_range)
        whole = self.names.take(f"{given.tensor}_int8")
        if values.size > ON_DISK_FROM:
            load = partial(_quantized, self.model, tensor, found, axis, options.reduce_range)
            source = self.model.weights.get(given.tensor)
            release = source.release if source is not None else lambda: None
            dims = tuple(tensor.dims)
            self.weights[whole] = Weight(TensorProto.INT8, dims, values.size, load, release=release)
            self.proto.graph.initializer.append(empty_initializer(whole, TensorProto.INT8, dims))
            release()
        else:
            made = quantized(values, found, axis, options.reduce_range)
            self.proto.graph.initializer.append(onnx.numpy_helper.from_array(made, whole))
        scale = self._initializer(f"{given.tensor}_scale", found)
        return self._dequantized(given.tensor, whole, scale, found.shape, axis)

    def _dequantized(
        self, tensor: str, whole: str, scale: str, shape: tuple[int, ...], axis: int | None = None
    ) -> str:
        made = self.names.take(f"{tensor}_dequantized")
        self._node("DequantizeLinear", [whole, scale, self._zero(shape)], made, tensor, axis)
        return made

    def _node(self, op_type: str, inputs: list[str], made: str, tensor: str, axis: int | None) -> None:
        node = onnx.helper.make_node(op_type, inputs, [made], self.names.take(f"{tensor}_{op_type}"))
        if axis is not None:
            node.attribute.append(onnx.helper.make_attribute("axis", axis))
        self.nodes.append(node)

    def _zero(self, shape: tuple[int, ...]) -> str:
        """The zero points of as many scales; all of them are zero."""
        if shape not in self.zeros:
            wanted = "_".join(("zero_point", *map(str, shape)))
            self.zeros[shape] = self._initializer(wanted, np.zeros(shape, np.int8))
        return self.zeros[shape]

    def _initializer(self, wanted: str, values: Array) -> str:
        name = self.names.take(wanted)
        self.proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        return name

    def _drop(self, tensors: Collection[str]) -> None:
        """Take those of these weights out that nobody reads in float32 any more."""
        used = {name for graph in graphs(self.proto.graph) for node in graph.node for name in node.input}
        used |= {value.name for graph in graphs(self.proto.graph) for value in graph.output}
        gone = set(tensors) - used
        graph = self.proto.graph
        kept = [tensor for tensor in graph.initializer if tensor.name not in gone]
        copies = onnx.GraphProto(initializer=kept)
        del graph.initializer[:]
        graph.initializer.extend(copies.initializer)
        set_nodes(graph, [node for node in graph.node if gone.isdisjoint(node.output)])
        for name in gone:
            self.weights.pop(name, None)


def _constants(proto: ModelProto) -> dict[str, TensorProto]:
    """The values of the main graph that are written into it: initializers and Constants."""
    found = {}
    for tensor in proto.graph.initializer:
        found[tensor.name] = TensorProto()
        found[tensor.name].CopyFrom(tensor)
    for node in proto.graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" and not domain(node) else None
        if value is not None:
            found[node.output[0]] = TensorProto()
            found[node.output[0]].CopyFrom(value.t)
    return found


def _quantized(
    model: Model, tensor: TensorProto, scales: Array, axis: int | None, reduce_range: bool
) -> Array:
    return quantized(model.array(tensor), scales.astype(np.float32), axis, reduce_range)
