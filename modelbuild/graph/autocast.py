"""Nodes whose input and weights differ in type, as PyTorch's autocast leaves them.

PyTorch's kernels take a half input beside float32 weights. The exporters write that down as it is,
but ONNX has one type for all of them, so the files are not valid.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx import NodeProto, TensorProto

from modelbuild.graph.files import Model
from modelbuild.graph.naming import Names, graphs, prepared, set_nodes
from modelbuild.graph.types import FLOAT, HALF_TYPES, SHORT, domain, opset_versions, ports, tensor_types

# PyTorch computes these in float32 and rounds the result.
_NORMS = frozenset({
    "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization",
    "RMSNormalization",
})  # fmt: skip
# Of these it rounds the weights, as of every matrix product.
_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})


def with_one_type_per_node(model: Model) -> Model:
    """The same graph, with Casts around what a node takes in another type than its half input.

    A normalisation is computed in float32 and its result rounded; a recurrent node in half.
    """
    return Model(_Casting(prepared(model.proto)).run(), model.weights)


class _Casting:
    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto, self.types, self.names = proto, tensor_types(proto), Names.of(proto)
        self.opsets = opset_versions(proto)

    def run(self) -> onnx.ModelProto:
        for graph in graphs(self.proto.graph):
            set_nodes(graph, [made for node in graph.node for made in self._nodes(node)])
        return self.proto

    def _nodes(self, node: NodeProto) -> Iterator[NodeProto]:
        own = self.types.get(node.input[0], "") if node.input and not domain(node) else ""
        tied = [n for n in self._tied(node) if self.types.get(n) == FLOAT] if own in HALF_TYPES else []
        if not tied or node.op_type not in _NORMS | _RECURRENT:
            yield node
        elif node.op_type in _NORMS:
            yield from self._casts(node, own, TensorProto.FLOAT)
            output = node.output[0]
            node.output[0] = self.names.take(f"{output}_fp32")
            yield node
            yield self._cast(node.output[0], output, HALF_TYPES[own])
        else:
            yield from self._casts(node, FLOAT, HALF_TYPES[own])
            yield node

    def _tied(self, node: NodeProto) -> list[str]:
        """The inputs that must have the first one's type: not always all of a BatchNormalization's."""
        taken = [port for port in ports(node, self.opsets) if not port.defines]
        return [port.tensor for port in taken if port.variable == taken[0].variable]

    def _casts(self, node: NodeProto, of: str, to: int) -> Iterator[NodeProto]:
        """Casts of the inputs that have a type, of which the node takes the results."""
        made: dict[str, str] = {}
        for index, name in enumerate(node.input):
            if self.types.get(name) != of:
                continue
            if name not in made:
                made[name] = self.names.take(f"{name}_{SHORT[to]}")
                yield self._cast(name, made[name], to)
            node.input[index] = made[name]

    def _cast(self, source: str, target: str, to: int) -> NodeProto:
        title = self.names.take(f"{source}_to_{SHORT[to]}")
        return onnx.helper.make_node("Cast", [source], [target], title, to=to)
