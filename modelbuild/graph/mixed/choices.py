"""Which values are chosen by comparing, and what has to be exact for the choice to be the same.

Errors of rounding add up, and a search can weigh them. A choice does not: the largest of two near values
is another one after the least rounding, for one input and not for the next, and what follows of it is
off by any amount. What no search on a few inputs finds, the graph says: all that a choice is made from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onnx import NodeProto

from modelbuild.graph.mixed.reduction import Reduction
from modelbuild.graph.naming import bodies, label, nodes, reads
from modelbuild.graph.ops import decides
from modelbuild.graph.types import FLOAT

# Sizes are no values; and what is finite or not stays so, where nothing leaves the range.
_NO_CHOICE = frozenset({"IsInf", "IsNaN", "Shape", "Size"})


def before_choices(of: Reduction) -> list[tuple[str, ...]]:
    """The nodes that round and that a choice is made from, choice by choice in the graph's order.

    Each step has those that no step before it has, its own choosing node among them.
    """
    graph = of.proto.graph
    used = {name for node in nodes(graph) for name in node.input} | {v.name for v in graph.output}
    makers = {name: node for node in graph.node for name in node.output if name}
    rounding = frozenset[str]().union(*(needed for needed in of.needs if needed))
    seen: set[str] = set()
    steps = []
    for node in graph.node:
        if any(_chooses(inner, of.types, used) for inner in _whole(node)):
            found = _above(node, makers, seen)
            if step := [name for name in dict.fromkeys(found) if name in rounding]:
                steps.append(tuple(step))
    return steps


def _chooses(node: NodeProto, types: Mapping[str, str], used: Collection[str]) -> bool:
    if node.op_type in _NO_CHOICE or not any(types.get(name) == FLOAT for name in node.input):
        return False
    counted = any(name in used and types.get(name, FLOAT) != FLOAT for name in node.output)
    return counted or decides(node, used)


def _above(node: NodeProto, makers: Mapping[str, NodeProto], seen: set[str]) -> list[str]:
    """This node, and all that its values follow from and that ``seen`` (by first outputs) has not."""
    found: list[str] = []
    todo = [node]
    while todo:
        one = todo.pop()
        made = next((name for name in one.output if name), "")
        if made in seen:
            continue
        seen.add(made)
        found += map(label, _whole(one))
        if one.op_type not in ("Shape", "Size"):
            todo += [makers[name] for name in sorted(reads(one)) if name in makers]
    return found


def _whole(node: NodeProto) -> list[NodeProto]:
    """A node with all that stands in its branches and bodies."""
    return [*(inner for body in bodies(node) for inner in nodes(body)), node]
