"""What decides an output: floats, or integers alone, or sizes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from modelbuild.graph.files import Model
from modelbuild.graph.interface import inputs, outputs
from modelbuild.graph.naming import bodies

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
# What is made of sizes alone, whatever the values.
_OF_SIZES = frozenset({"Shape", "Size"})


def decided_by_floats(model: Model) -> frozenset[str]:
    """The outputs that some float value reaches."""
    return _reached(model, _floats(model.proto.graph), _makes_floats)


def decided_by_values(model: Model) -> frozenset[str]:
    """The outputs that some value of an input reaches; of the others, sizes and weights are all."""
    return _reached(model, {i.name for i in inputs(model)}, lambda node: node.op_type.startswith("Random"))


def _reached(model: Model, reached: set[str], begins: Callable[[NodeProto], bool]) -> frozenset[str]:
    graph = model.proto.graph
    for node in graph.node:  # ONNX has its nodes in the order of use
        if node.op_type not in _OF_SIZES and (any(name in reached for name in _read(node)) or begins(node)):
            reached.update(node.output)
    return frozenset(p.name for p in outputs(model) if p.name in reached)


def _floats(graph: GraphProto) -> set[str]:
    given = {i.name for i in graph.input if i.type.tensor_type.elem_type in _FLOATS}
    return given | {t.name for t in graph.initializer if t.data_type in _FLOATS}


def _read(node: NodeProto) -> Iterator[str]:
    """What a node reads, in its branches and bodies, too."""
    yield from node.input
    for graph in bodies(node):
        for inner in graph.node:
            yield from _read(inner)


def _makes_floats(node: NodeProto) -> bool:
    if node.op_type == "Cast":
        return any(a.name == "to" and a.i in _FLOATS for a in node.attribute)
    if node.op_type.startswith("Random") or node.op_type == "DequantizeLinear":
        return True
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR and attribute.t.data_type in _FLOATS:
            return True
    return any(_floats(g) or any(_makes_floats(n) for n in g.node) for g in bodies(node))
