"""One float32 session in which every rounding that a conversion would make can be switched.

A session costs seconds and a run costs milliseconds, so all candidates are measured in one. Where
a node of the converted file would read a tensor in half, a ``Where`` picks the tensor or its
rounded self by an input of one Boolean. Weights are inputs, too: a run is handed each one as it is
or rounded, by reference. A recurrent node stands in an ``If`` beside itself taken apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnxruntime
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.helper import make_graph, make_node, make_tensor_value_info

from modelbuild.graph.files import Array, Model
from modelbuild.graph.mixed.reduction import Reduction, Use, Wire
from modelbuild.graph.naming import Names, graphs, set_nodes
from modelbuild.graph.runtime import session


class Switches:
    """The switched session of one float32 model under one conversion's options."""

    def __init__(self, roundings: Reduction) -> None:
        self.roundings = roundings
        self._weights: dict[tuple[str, int | None, bool], onnxruntime.OrtValue] = {}
        self._flags = {on: onnxruntime.OrtValue.ortvalue_from_numpy(np.array(on)) for on in (True, False)}
        wiring = _Wiring(roundings)
        wiring.run()
        self._inputs = wiring.inputs
        self._session = session(_without_unused(wiring.proto, roundings.model))

    def run(self, feeds: Mapping[str, Array], rounded: Collection[int]) -> list[Array]:
        """The model's outputs in float32, with these uses rounded."""
        given = {
            n: onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(a, order="C")) for n, a in feeds.items()
        }
        for index, use in enumerate(self.roundings.uses):
            on = index in rounded
            value = self._weight(use, on) if use.kind == "weight" else self._flags[on]
            given[self._inputs[index]] = value
        return [v.numpy() for v in self._session.run_with_ort_values(None, given)]

    def values(self, name: str) -> Array:
        """A constant's own values."""
        proto = self.roundings.proto
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        return Model(proto, self.roundings.model.weights).array(tensor)

    def _weight(self, use: Use, rounded: bool) -> onnxruntime.OrtValue:
        key = (use.tensor, use.axis if rounded else None, rounded)
        if key not in self._weights:
            values = self.values(use.tensor)
            if rounded:
                values = self.roundings.as_rounded(use, values)
            self._weights[key] = onnxruntime.OrtValue.ortvalue_from_numpy(values)
        return self._weights[key]


class _Wiring:
    """A copy of the graph with its switches; ``inputs[i]`` is the input that decides use ``i``."""

    def __init__(self, of: Reduction) -> None:
        self.of = of
        self.proto = ModelProto()
        self.proto.CopyFrom(of.proto)
        self.wires = of.wires(self.proto)
        self.names = Names.of(self.proto)
        self.dims = {t.name: list(t.dims) for t in self.proto.graph.initializer}
        self.inputs: list[str] = []
        self.behind: dict[str, list[NodeProto]] = {}  # tensor -> what rounds it, behind its definition
        self.before: dict[str, list[NodeProto]] = {}  # a node's first output, or "" for the end -> Wheres
        self.stateful: dict[str, str] = {}  # a recurrent node's first output -> its switch

    def run(self) -> None:
        for use, wire in zip(self.of.uses, self.wires, strict=True):
            self.inputs.append(self.names.take("weight" if use.kind == "weight" else "switch"))
            self._add(use, wire, self.inputs[-1])
        for graph in reversed(list(graphs(self.proto.graph))):  # bodies before what copies them
            self._assemble(graph)

    def _add(self, use: Use, wire: Wire | None, switch: str) -> None:
        inputs = self.proto.graph.input
        if use.kind == "weight" and wire is not None:
            inputs.append(make_tensor_value_info(switch, TensorProto.FLOAT, self.dims[use.tensor]))
            wire.rename(switch)
            return
        inputs.append(make_tensor_value_info(switch, TensorProto.BOOL, []))
        if wire is None:
            picked = self._picked(use, "", switch)
            for output in self.proto.graph.output:
                if output.name == use.tensor:
                    output.CopyFrom(ValueInfoProto(name=picked))
        elif use.kind == "state":
            self.stateful[_first(wire.node)] = switch
        else:
            wire.rename(self._picked(use, _first(wire.node), switch))

    def _picked(self, use: Use, user: str, switch: str) -> str:
        """The tensor or its rounded self, as the switch says, for the node that makes ``user``."""
        if use.tensor not in self.behind:
            self.behind[use.tensor] = list(self.of.pair(use, self.names))
        picked = self.names.take(f"{use.tensor}_picked")
        given = [switch, self.behind[use.tensor][-1].output[0], use.tensor]
        self.before.setdefault(user, []).append(make_node("Where", given, [picked], self.names.take(picked)))
        return picked

    def _assemble(self, graph: GraphProto) -> None:
        del graph.value_info[:]
        given = [value.name for value in graph.input] + [tensor.name for tensor in graph.initializer]
        nodes = [n for name in given for n in self.behind.get(name, ())]
        for node in graph.node:
            first = _first(node)
            nodes += self.before.get(first, ())
            nodes.append(self._either(node, self.stateful[first]) if first in self.stateful else node)
            nodes += [n for name in node.output for n in self.behind.get(name, ())]
        if graph is self.proto.graph:
            nodes += self.before.get("", [])
        set_nodes(graph, nodes)

    def _either(self, node: NodeProto, switch: str) -> NodeProto:
        """A recurrent node as it is, or one that rounds its state in every time step."""
        branches = {}
        for branch in ("else_branch", "then_branch"):
            copy = NodeProto()
            copy.CopyFrom(node)
            copy.output[:] = [name and self.names.take(name) for name in node.output]
            made = [make_tensor_value_info(name, TensorProto.FLOAT, None) for name in copy.output if name]
            inside = [copy]
            if branch == "then_branch":
                inside = self.of.in_steps(copy, self.names)
            branches[branch] = make_graph(inside, self.names.take(branch), [], made)
        outputs = [name for name in node.output if name]
        return make_node("If", [switch], outputs, self.names.take(f"{_first(node)}_either"), **branches)


def _first(node: NodeProto) -> str:
    """What tells a node from all others: names are distinct, and each node makes something."""
    return str(next(name for name in node.output if name))


def _without_unused(proto: ModelProto, model: Model) -> Model:
    used = {name for graph in graphs(proto.graph) for node in graph.node for name in node.input}
    used |= {value.name for graph in graphs(proto.graph) for value in graph.output}
    kept = GraphProto(initializer=[t for t in proto.graph.initializer if t.name in used])
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept.initializer)
    return Model(proto, {name: w for name, w in model.weights.items() if name in used})
