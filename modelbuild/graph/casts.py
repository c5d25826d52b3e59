"""Casts that change nothing, out of a graph."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import GraphProto, ModelProto, NodeProto

from modelbuild.graph.naming import bodies, graphs, label
from modelbuild.graph.types import domain

# What each type holds exactly, so that a way there and back again changes nothing.
_HOLDS = {
    "tensor(float)": {"tensor(float16)", "tensor(bfloat16)"},
    "tensor(double)": {"tensor(float16)", "tensor(bfloat16)", "tensor(float)"},
}
_GONE = "gone"  # the operator of a node that is to be dropped


def drop_redundant_casts(proto: ModelProto, types: Mapping[str, str]) -> None:
    """Remove, in place, Casts to the type that is there already, repeated ones, and ways to a wider
    type and back.

    The way to a narrower type and back is a rounding, and stays. Names must be distinct
    (``naming.prepared``); ``types`` are those of the tensors that Casts take and make. Between an
    input and an output of a graph there must be a node: an Identity.
    """
    _Dropping(proto, types).run()


class _Dropping:
    def __init__(self, proto: ModelProto, types: Mapping[str, str]) -> None:
        self.proto, self.types = proto, types
        self.instead: dict[str, str] = {}  # tensor -> the one that takes its place
        self.casts: dict[str, str] = {}  # what a Cast made -> what it took
        self.bypassed: set[str] = set()  # Casts that one behind them went past
        self.titles = {node.name for graph in graphs(proto.graph) for node in graph.node}

    def run(self) -> None:
        self._find(self.proto.graph, {})
        for graph in graphs(self.proto.graph):
            for node in graph.node:
                node.input[:] = map(self._final, node.input)
        self._sweep()
        while self.bypassed and self._mark_unused():
            self._sweep()

    def _find(self, graph: GraphProto, known: dict[tuple[str, str], str]) -> None:
        """``known`` are the Casts so far that this graph can see: what they took, to which type."""
        makers = {name: node for node in graph.node for name in node.output}
        outputs = {value.name for value in graph.output}
        for node in graph.node:
            for body in bodies(node):
                self._find(body, dict(known))
            if not _is_cast(node):
                continue
            made, taken = node.output[0], self._final(node.input[0])
            repeated = (taken, self.types.get(made, made))
            source = self._same(taken, made) or known.get(repeated)
            if source is None:
                self.casts[made] = taken
                known[repeated] = made
                continue
            source = self._final(source)
            if source != taken:
                self.bypassed.add(taken)
            maker = makers.get(source)
            if made not in outputs:
                self.instead[made] = source
            elif maker is None or source in outputs:
                node.op_type, node.input[0] = "Identity", source
                del node.attribute[:]
                continue
            else:  # the output keeps its name, and its node what it goes by
                if label(maker) == source and source not in self.titles:
                    maker.name = source
                    self.titles.add(source)
                maker.output[:] = [made if name == source else name for name in maker.output]
                makers[made] = maker
                self.instead[source] = made
                if source in self.casts:
                    self.casts[made] = self.casts.pop(source)
            node.op_type = _GONE

    def _same(self, taken: str, made: str) -> str | None:
        """The tensor that already holds what a Cast makes."""
        wanted = self.types.get(made)
        while wanted is not None and self.types.get(taken) != wanted:
            before = self.casts.get(taken)
            if before is None or self.types.get(before) not in _HOLDS.get(self.types.get(taken, ""), ()):
                return None
            taken = self._final(before)
        return None if wanted is None else taken

    def _final(self, name: str) -> str:
        while name in self.instead:
            name = self.instead[name]
        return name

    def _mark_unused(self) -> bool:
        """Whether there are bypassed Casts that nothing uses any more; their sources may be next."""
        every = list(graphs(self.proto.graph))
        used = {name for graph in every for node in graph.node for name in node.input}
        used.update(value.name for graph in every for value in graph.output)
        found = False
        for graph in every:
            for node in filter(_is_cast, graph.node):
                if node.output[0] in self.bypassed and node.output[0] not in used:
                    self.bypassed.add(node.input[0])
                    node.op_type, found = _GONE, True
        return found

    def _sweep(self) -> None:
        """Take out what is to be dropped, inner graphs first: taking out copies them."""
        for graph in reversed(list(graphs(self.proto.graph))):
            gone = {n.output[0] for n in graph.node if n.op_type == _GONE} | self.instead.keys()
            kept = GraphProto(
                node=[n for n in graph.node if n.op_type != _GONE],
                value_info=[v for v in graph.value_info if v.name not in gone],
            )
            if len(kept.node) < len(graph.node):
                del graph.node[:]
                graph.node.extend(kept.node)
            if len(kept.value_info) < len(graph.value_info):
                del graph.value_info[:]
                graph.value_info.extend(kept.value_info)


def _is_cast(node: NodeProto) -> bool:
    return node.op_type == "Cast" and not domain(node)
