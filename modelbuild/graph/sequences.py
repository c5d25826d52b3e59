"""Splits as one node each, where an exporter wrote a sequence of tensors.

PyTorch's dynamo exporter writes ``chunk`` and ``split`` as a SplitToSequence and a SequenceAt for each
part. ONNX Runtime takes that; TensorRT has no sequences, and many a transformer splits one projection
into its queries, keys and values.
"""

from __future__ import annotations

import onnx.numpy_helper
from onnx import NodeProto, TensorProto, ValueInfoProto

from modelbuild.graph.files import Model
from modelbuild.graph.naming import Names, graphs
from modelbuild.graph.types import attribute, domain, opset_versions

_SIZES_ARE_AN_INPUT = 13  # of Split, since this opset


def without_split_sequences(model: Model) -> None:
    """Turn a SplitToSequence of which only parts are taken, each by a fixed index, into a Split.

    The sizes of the parts must follow from constants and from the declared size of the axis. Only
    the main graph is looked at. What was a SequenceAt becomes an Identity, which onnxsim removes.
    """
    found = [n for n in model.proto.graph.node if n.op_type == "SplitToSequence" and not domain(n)]
    if not found or opset_versions(model.proto).get("", 0) < _SIZES_ARE_AN_INPUT:
        return
    rewriting = _Replacing(model)
    for node in found:
        rewriting.rewrite(node)


class _Replacing:
    def __init__(self, model: Model) -> None:
        graph = model.proto.graph
        self.graph, self.names = graph, Names.of(model.proto)
        self.constants = {t.name: t for t in graph.initializer if t.name not in model.weights}
        for node in graph.node:
            if node.op_type == "Constant" and (value := attribute(node, "value")):
                self.constants[node.output[0]] = value.t
        self.shapes = {v.name: _shape(v) for v in (*graph.input, *graph.value_info)}
        self.readers: dict[str, list[NodeProto]] = {}
        for inner in graphs(graph):
            for node in inner.node:
                for name in node.input:
                    self.readers.setdefault(name, []).append(node)

    def rewrite(self, node: NodeProto) -> None:
        sequence = node.output[0]
        sizes, takers = self._sizes(node), self.readers.get(sequence, [])
        if sizes is None or any(not self._takes_one_of(n, len(sizes)) for n in takers):
            return
        parts = [self.names.take(f"{sequence}_{i}") for i in range(len(sizes))]
        for taker in takers:
            taker.op_type = "Identity"
            taker.input[:] = [parts[self._numbers(taker.input[1])[0]]]
        given = self.names.take(f"{sequence}_sizes")
        self.graph.initializer.append(onnx.helper.make_tensor(given, TensorProto.INT64, [len(sizes)], sizes))
        node.op_type = "Split"
        node.input[:] = [node.input[0], given]
        node.output[:] = parts
        for index in reversed(range(len(node.attribute))):
            if node.attribute[index].name == "keepdims":
                del node.attribute[index]

    def _takes_one_of(self, node: NodeProto, count: int) -> bool:
        if node.op_type != "SequenceAt" or domain(node) or node.input[1] not in self.constants:
            return False
        return -count <= self._numbers(node.input[1])[0] < count

    def _sizes(self, node: NodeProto) -> list[int] | None:
        """The parts' sizes; None where they are not known, or where parts lose the axis."""
        if len(node.input) < 2 or node.input[1] not in self.constants:
            return None
        sizes = self._numbers(node.input[1])
        if self.constants[node.input[1]].dims:
            return sizes
        axis, shape = attribute(node, "axis"), self.shapes.get(node.input[0], ())
        place = axis.i if axis else 0
        whole = shape[place] if -len(shape) <= place < len(shape) else None
        if whole is None or sizes[0] < 1:
            return None
        return [min(sizes[0], whole - start) for start in range(0, whole, sizes[0])]

    def _numbers(self, name: str) -> list[int]:
        return [int(n) for n in onnx.numpy_helper.to_array(self.constants[name]).reshape(-1)]


def _shape(value: ValueInfoProto) -> tuple[int | None, ...]:
    """The size of each axis; None where it is free."""
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
