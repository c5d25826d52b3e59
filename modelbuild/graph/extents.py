"""Which tensors of a graph have a size that values decide, and not sizes alone."""

from __future__ import annotations

from onnx import GraphProto, ModelProto

from modelbuild.graph.naming import bodies
from modelbuild.graph.ops import is_independent
from modelbuild.graph.types import domain

_COUNTS = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
# The inputs that say how large the output is.
_SIZED_BY = {
    "CenterCropPad": (1,), "ConstantOfShape": (0,), "Expand": (1,), "OneHot": (1,), "Pad": (1,),
    "Range": (0, 1, 2), "Reshape": (1,), "Resize": (2, 3), "Slice": (1, 2, 3, 4),
    "Split": (1,), "Tile": (1,), "TopK": (1,), "Upsample": (1,),
}  # fmt: skip


def sized_by_values(proto: ModelProto) -> frozenset[str]:
    """The model's outputs whose shape follows from the inputs' values: rows that a threshold lets through."""
    independent = {tensor.name for tensor in proto.graph.initializer}
    counted: set[str] = set()
    _walk(proto.graph, independent, counted)
    return frozenset(value.name for value in proto.graph.output if value.name in counted)


def _walk(graph: GraphProto, independent: set[str], counted: set[str]) -> None:
    for node in graph.node:
        inside = bodies(node)
        for body in inside:
            independent.update(tensor.name for tensor in body.initializer)
            _walk(body, independent, counted)
        if is_independent(node, independent):
            independent.update(node.output)
            continue
        given = set(node.input)
        if inside:  # how often a body runs, or which one, may be a matter of values as well
            given.update(name for body in inside for n in body.node for name in n.input)
            by_values = any(name and name not in independent for name in node.input[:2])
        else:
            sizes = _SIZED_BY.get(node.op_type, ()) if not domain(node) else ()
            by_values = any(
                node.input[i] and node.input[i] not in independent for i in sizes if i < len(node.input)
            )
            by_values = by_values or (node.op_type in _COUNTS and not domain(node))
        if by_values or given & counted:
            counted.update(node.output)
