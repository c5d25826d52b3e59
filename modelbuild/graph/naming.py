"""Names in a graph, and the bodies that If, Loop and Scan carry.

ONNX lets two branches of an If reuse a name. Everything here that speaks of "the tensor x" needs
one tensor per name, so bodies that reuse one are renamed first; inputs and outputs of the model
never are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx.inliner
from onnx import GraphProto, ModelProto, NodeProto

_CAST_SINCE = 13  # the opset that a model of nothing but other domains gets with its first Cast


def label(node: NodeProto) -> str:
    """What a person calls this node: its name, or that of the first tensor it makes."""
    return node.name or next((name for name in node.output if name), node.op_type)


def bodies(node: NodeProto) -> list[GraphProto]:
    """The graphs that a node carries in its attributes, in order."""
    found: list[GraphProto] = []
    for attribute in node.attribute:
        if attribute.HasField("g"):
            found.append(attribute.g)
        found.extend(attribute.graphs)
    return found


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph, then every graph inside it, depth first."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from graphs(body)


def defined(graph: GraphProto) -> Iterator[str]:
    """The tensors that a graph brings into being, without those of its bodies; some twice."""
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        yield from (name for name in node.output if name)


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes, a body's before the node that carries it."""
    for node in graph.node:
        for body in bodies(node):
            yield from nodes(body)
        yield node


def value_names(graph: GraphProto) -> set[str]:
    """Every name of a value in this graph and the graphs inside it, used or made; some of them empty."""
    names: set[str] = set()
    for body in graphs(graph):
        names.update(v.name for v in (*body.input, *body.output, *body.initializer))
        for node in body.node:
            names.update(node.input, node.output)
    return names


def reads(node: NodeProto) -> set[str]:
    """What a node reads, its bodies included; their own names are no harm: they are nobody's."""
    return set(node.input).union(*map(value_names, bodies(node)))


def set_nodes(graph: GraphProto, wanted: Iterable[NodeProto]) -> None:
    """Give a graph these nodes instead of its own, some of which may be among them."""
    kept = GraphProto(node=wanted)  # copies, before the graph's own are gone
    del graph.node[:]
    graph.node.extend(kept.node)


class Names:
    """New names that are taken by no tensor or node of a model, the same ones every time."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)

    @classmethod
    def of(cls, proto: ModelProto) -> Names:
        taken: set[str] = set()
        for graph in graphs(proto.graph):
            taken.update(defined(graph))
            taken.update(node.name for node in graph.node)
        return cls(taken)

    def take(self, wanted: str) -> str:
        """``wanted``, or ``wanted_1``, ``wanted_2``, ... where that is taken."""
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name


def prepared(proto: ModelProto) -> ModelProto:
    """A copy to rewrite: every tensor's name its own, functions inlined, Cast at hand."""
    copy = ModelProto()
    copy.CopyFrom(onnx.inliner.inline_local_functions(proto) if proto.functions else proto)
    _make_distinct_inside(copy.graph)
    if not any(opset.domain in ("", "ai.onnx") for opset in copy.opset_import):
        copy.opset_import.add(domain="", version=_CAST_SINCE)
    return copy


def _make_distinct_inside(graph: GraphProto) -> None:
    names = Names(defined(graph))
    for node in graph.node:
        for body in bodies(node):
            _make_distinct(body, {}, names)


def _make_distinct(graph: GraphProto, outer: Mapping[str, str], names: Names) -> None:
    scope = dict(outer)
    for name in dict.fromkeys(defined(graph)):
        scope[name] = names.take(name)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = scope.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = scope.get(sparse.values.name, sparse.values.name)
    for node in graph.node:
        node.input[:] = [scope.get(name, name) for name in node.input]
        node.output[:] = [scope.get(name, name) for name in node.output]
        for body in bodies(node):
            _make_distinct(body, scope, names)
