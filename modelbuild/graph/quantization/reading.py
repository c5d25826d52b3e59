"""What of a file is int8: a node whose factors are all made by a DequantizeLinear, by whoever wrote it."""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto, NodeProto

from modelbuild.graph.types import domain, tensor_types

PAIRS = frozenset({"DequantizeLinear", "QuantizeLinear"})
_WHOLE = frozenset({"tensor(int8)", "tensor(uint8)"})


def is_int8(node: NodeProto, dequantized: Collection[str]) -> bool:
    """Whether a node multiplies or adds two dequantized tensors; a bias, its third input, may be anything."""
    return len(node.input) > 1 and all(name in dequantized for name in node.input[:2])


def dequantized(proto: ModelProto) -> frozenset[str]:
    """The tensors of the main graph that are made of numbers of 8 bits."""
    types = tensor_types(proto)
    return frozenset(
        node.output[0]
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear" and not domain(node) and types.get(node.input[0]) in _WHOLE
    )


def int8_nodes(proto: ModelProto) -> list[NodeProto]:
    """The products and residual sums of the main graph that are int8, in its order."""
    made = dequantized(proto)
    return [node for node in proto.graph.node if is_int8(node, made)]
