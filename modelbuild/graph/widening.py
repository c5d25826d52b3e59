"""A graph that computes in other floats than float32 made one that does, so that it can be converted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator

import numpy as np
import onnx.numpy_helper
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

from modelbuild.graph.edges import with_edge_types
from modelbuild.graph.files import Array, Model, Weight, empty_initializer
from modelbuild.graph.naming import graphs, prepared
from modelbuild.graph.types import TYPE_ATTRIBUTE, attribute, domain

_FLOAT = int(TensorProto.FLOAT)
FLOATS = frozenset({
    _FLOAT, int(TensorProto.DOUBLE), int(TensorProto.FLOAT16), int(TensorProto.BFLOAT16),
})  # fmt: skip
_LARGEST = float(np.finfo(np.float32).max)


def held(proto: ModelProto) -> frozenset[int]:
    """The types of floats that a file says it holds: of weights, constants, inputs and outputs, Casts."""
    found: set[int] = set()
    for value in (*proto.graph.input, *proto.graph.output):
        found.add(value.type.tensor_type.elem_type)
    for graph in graphs(proto.graph):
        found.update(tensor.data_type for tensor in graph.initializer)
        for node in graph.node:
            found.update(tensor.data_type for tensor in _constants(node))
            if (given := _type_attribute(node)) is not None:
                found.add(given.i)
    return frozenset(found & FLOATS)


def main_type(proto: ModelProto) -> int | None:
    """The type of floats that most of the weights have; without weights, that of the first float input.

    A model of float32 may compute a part in float64, and means it.
    """
    sizes: Counter[int] = Counter()
    for graph in graphs(proto.graph):
        for tensor in graph.initializer:
            if tensor.data_type in FLOATS:
                sizes[tensor.data_type] += math.prod(tensor.dims)
    if sizes:
        return max(sizes, key=lambda t: (sizes[t], t == _FLOAT, t))
    given = (value.type.tensor_type.elem_type for value in proto.graph.input)
    return next((t for t in given if t in FLOATS), None)


def as_float32(model: Model, dtypes: Collection[int]) -> Model:
    """The graph with float32 for every tensor of these types; its inputs and outputs keep theirs.

    Values beyond float32's range become its largest.
    """
    proto = prepared(model.proto)
    edges = {
        value.name: value.type.tensor_type.elem_type
        for value in (*proto.graph.input, *proto.graph.output)
        if value.type.tensor_type.elem_type in dtypes
    }
    weights = dict(model.weights)
    for graph in graphs(proto.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            _retype(value.type, dtypes)
        _initializers(graph, model, weights, dtypes)
        for node in graph.node:
            for tensor in _constants(node):
                if tensor.data_type in dtypes:
                    _put(tensor, _wide(onnx.numpy_helper.to_array(tensor)))
            given = _type_attribute(node)
            if given is not None and given.i in dtypes:
                given.i = _FLOAT
    return with_edge_types(Model(proto, weights), edges)


def _initializers(
    graph: GraphProto, model: Model, weights: dict[str, Weight], dtypes: Collection[int]
) -> None:
    for tensor in graph.initializer:
        if tensor.data_type not in dtypes:
            continue
        weight = weights.get(tensor.name)
        if weight is None:
            _put(tensor, _wide(model.array(tensor)))
            continue
        weights[tensor.name] = Weight(
            _FLOAT, weight.dims, 4 * int(np.prod(weight.dims)), _widened(weight), release=weight.release
        )
        tensor.CopyFrom(empty_initializer(tensor.name, _FLOAT, weight.dims))


def _widened(weight: Weight) -> Callable[[], Array]:
    return lambda: _wide(weight.load())


def _wide(values: Array) -> Array:
    if values.dtype == np.float64:
        values = np.where(np.isfinite(values), np.clip(values, -_LARGEST, _LARGEST), values)
    return np.ascontiguousarray(values.astype(np.float32)).reshape(values.shape)


def _put(tensor: TensorProto, values: Array) -> None:
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _constants(node: NodeProto) -> Iterator[TensorProto]:
    if not domain(node) and node.op_type in ("Constant", "ConstantOfShape"):
        for given in node.attribute:
            if given.HasField("t"):
                yield given.t
            if given.HasField("sparse_tensor"):
                yield given.sparse_tensor.values


def _type_attribute(node: NodeProto) -> onnx.AttributeProto | None:
    if domain(node):
        return None
    name = (
        "output_dtype" if node.op_type == "DequantizeLinear" else TYPE_ATTRIBUTE.get(node.op_type, ("",))[0]
    )
    return attribute(node, name) if name else None


def _retype(of: TypeProto, dtypes: Collection[int]) -> None:
    kind = of.WhichOneof("value")
    if kind in ("sequence_type", "optional_type"):
        _retype(getattr(of, kind).elem_type, dtypes)
    elif kind in ("tensor_type", "sparse_tensor_type") and getattr(of, kind).elem_type in dtypes:
        getattr(of, kind).elem_type = _FLOAT
