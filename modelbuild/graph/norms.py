"""Normalisations whose input and weights differ in type, as PyTorch's autocast leaves them."""

from __future__ import annotations

import onnx
from onnx import GraphProto, NodeProto, TensorProto

from modelbuild.graph.files import Model
from modelbuild.graph.naming import Names, graphs, prepared
from modelbuild.graph.types import FLOAT, HALF_TYPES, SHORT, domain, tensor_types

_NORMS = frozenset({"GroupNormalization", "InstanceNormalization", "LayerNormalization", "RMSNormalization"})


def with_norms_of_one_type(model: Model) -> Model:
    """The same graph, in which a half input of a normalisation with float32 weights is cast to float32.

    PyTorch's kernels take a half input beside float32 weights, compute in float32 and round the
    result to half. The exporters write that down as it is, but ONNX has one type for all three.
    """
    proto = prepared(model.proto)
    types, names = tensor_types(proto), Names.of(proto)
    for graph in graphs(proto.graph):
        kept = GraphProto()
        for node in graph.node:
            kept.node.extend(_in_float(node, types, names))
        del graph.node[:]
        graph.node.extend(kept.node)
    return Model(proto, model.weights)


def _in_float(node: NodeProto, types: dict[str, str], names: Names) -> list[NodeProto]:
    own = types.get(node.input[0], "") if node.op_type in _NORMS and not domain(node) else ""
    weights = [types.get(name) for name in node.input[1:] if name]
    if own not in HALF_TYPES or FLOAT not in weights:
        return [node]
    half = HALF_TYPES[own]
    before = []
    for index, name in enumerate(node.input):
        if types.get(name) == own:
            node.input[index] = names.take(f"{name}_fp32")
            before.append(_cast(name, node.input[index], TensorProto.FLOAT, names))
    output = node.output[0]
    node.output[0] = names.take(f"{output}_fp32")
    return [*before, node, _cast(node.output[0], output, half, names)]


def _cast(source: str, target: str, to: int, names: Names) -> NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], names.take(f"{source}_to_{SHORT[to]}"), to=to)
