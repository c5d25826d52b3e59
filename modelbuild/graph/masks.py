"""Constants that only say what is not to count: ``masked_fill(mask, -3.4e38)`` before a softmax."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import ModelProto, NodeProto

from modelbuild.graph.naming import graphs

# What gives the same for every number that is low enough: exp() of it is 0.
_ENDS = {"Softmax": {0}, "Exp": {0}, "Sigmoid": {0}, "ArgMax": {0}, "Attention": {3}}
# What hands values on as they are, or with others added; a mask of ones and zeros is a factor.
_HANDS_ON = {
    "Add", "Cast", "Concat", "Expand", "Flatten", "Identity", "Max", "Min", "Mul", "Pad", "Reshape", "Slice",
    "Split", "Squeeze", "Sum", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
}  # fmt: skip
# Of these only the input at this place is handed on.
_FIRST = {"Sub": 0, "Div": 0, "Gather": 0, "GatherND": 0, "GatherElements": 0}
_ANY = {"Clip": {0, 1}, "ScatterND": {0, 2}, "ScatterElements": {0, 2}}


def fills(proto: ModelProto, tensors: Iterable[str]) -> set[str]:
    """Those of ``tensors`` of which every number low enough makes the same outputs, wherever they are read.

    They are low constants: negative, and beyond what half precision holds.
    """
    readers: dict[str, list[tuple[NodeProto, int]]] = {}
    ends = {value.name for value in proto.graph.output}
    for graph in graphs(proto.graph):
        if graph is not proto.graph:
            ends |= {name for node in graph.node for name in node.input}
            ends |= {value.name for value in graph.output}
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, place))
    return {name for name in tensors if _is_fill(name, readers, ends)}


def _is_fill(tensor: str, readers: dict[str, list[tuple[NodeProto, int]]], ends: set[str]) -> bool:
    todo, seen = [tensor], {tensor}
    for name in todo:
        if name in ends:  # it is an output, or read in a branch or a body
            return False
        for node, place in readers.get(name, ()):
            if node.domain not in ("", "ai.onnx"):
                return False
            if place in _ENDS.get(node.op_type, ()):
                continue
            places = _ANY.get(node.op_type, {_FIRST.get(node.op_type, -1)})
            if node.op_type not in _HANDS_ON and place not in places:
                return False
            fresh = [output for output in node.output if output and output not in seen]
            seen.update(fresh)
            todo += fresh
    return True
