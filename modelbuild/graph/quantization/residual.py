"""Additions that close a residual block, which builders compute inside the convolution before them.

They do that if both sides come as int8; of one scale, so that nothing has to be scaled again in between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from onnx import ModelProto, NodeProto

from modelbuild.graph.naming import bodies, label, reads
from modelbuild.graph.shapes import inferred
from modelbuild.graph.types import FLOAT, domain

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
# What stands between a convolution and the sum.
_BEFORE = frozenset({"BatchNormalization", "Clip", "Relu"})
# What stands between the sum and who reads it as int8: of each value, by itself, one other value.
_BEHIND = frozenset({
    "Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Mish", "Mul", "PRelu",
    "Relu", "Sigmoid", "Softplus", "Swish", "Tanh",
})  # fmt: skip


@dataclass(frozen=True)
class Residual:
    """An Add that is int8 if one of ``made_by`` is and one of ``read_by``."""

    node: str
    sides: tuple[str, str]
    made_by: frozenset[str]
    read_by: frozenset[str]

    def holds(self, chosen: Collection[str]) -> bool:
        """Whether these int8 nodes have one before it and one behind it."""
        return not self.made_by.isdisjoint(chosen) and not self.read_by.isdisjoint(chosen)


def residuals(
    proto: ModelProto, types: Mapping[str, str], constants: Collection[str], products: Collection[str]
) -> list[Residual]:
    """The Adds of the main graph that close a residual block between some of ``products``."""
    sums = [node for node in proto.graph.node if node.op_type == "Add" and not domain(node)]
    if not sums or not products:
        return []
    shapes = _shapes(proto)
    makers = {name: node for node in proto.graph.node for name in node.output}
    readers: defaultdict[str, list[NodeProto]] = defaultdict(list)
    for node in proto.graph.node:
        for name in reads(node) if bodies(node) else set(node.input):
            readers[name].append(node)
    found = []
    for node in sums:
        left, right = node.input
        if left == right or any(types.get(n) != FLOAT or n in constants for n in (left, right)):
            continue
        if shapes.get(left) is None or shapes.get(left) != shapes.get(right):
            continue
        made_by = {_convolution(left, makers), _convolution(right, makers)}.intersection(products)
        read_by = _readers(node.output[0], readers).intersection(products)
        if made_by and read_by:
            sides = (left, right)
            found.append(Residual(label(node), sides, frozenset(made_by), frozenset(read_by)))
    return found


def _shapes(proto: ModelProto) -> dict[str, tuple[int | str, ...] | None]:
    """The shape of each tensor, as far as it is known to the last axis."""
    graph = inferred(proto).graph
    shapes: dict[str, tuple[int | str, ...] | None] = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]
        shapes[value.name] = tuple(dims) if kind.HasField("shape") and "" not in dims else None
    return shapes


def _convolution(tensor: str, makers: Mapping[str, NodeProto]) -> str:
    """The convolution that makes a tensor, seen through what is computed with it; or nothing."""
    node = makers.get(tensor)
    while node is not None and not domain(node):
        if node.op_type in _CONVOLUTIONS:
            return label(node)
        node = makers.get(node.input[0]) if node.op_type in _BEFORE else None
    return ""


def _readers(tensor: str, readers: Mapping[str, list[NodeProto]]) -> set[str]:
    """Who reads a tensor, or what is computed from each of its values."""
    found: set[str] = set()
    todo, seen = [tensor], {tensor}
    for name in todo:
        for node in readers.get(name, ()):
            found.add(label(node))
            if node.op_type in _BEHIND and not domain(node):
                fresh = [output for output in node.output if output not in seen]
                seen.update(fresh)
                todo += fresh
    return found
