"""One float32 session in which every rounding that a conversion would make can be switched.

A session costs seconds and a run costs milliseconds, so all candidates are measured in one. Where
a node of the converted file would read a tensor in half, a ``Where`` picks the tensor or its
rounded self by an input of one Boolean. Weights are inputs, too: a run is handed each one as it is
or rounded, by reference. Which uses a candidate rounds is read from ``placement``, which is what
the conversion itself goes by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from modelbuild.graph.files import Array, Model
from modelbuild.graph.naming import Names, graphs, label, prepared
from modelbuild.graph.ops import is_exact
from modelbuild.graph.placement import Placement, place
from modelbuild.graph.precision import HalfOptions
from modelbuild.graph.rounding import to_half
from modelbuild.graph.runtime import session
from modelbuild.graph.types import CONTROL_FLOW, FLOAT, attribute, tensor_types


@dataclass(frozen=True)
class Use:
    """A place that reads a tensor: an input of a node, or (``node`` empty) an output of the model.

    ``weight`` says that the tensor is a constant of the model; ``made_by`` and ``read_by`` are
    operators, empty for inputs and outputs of the model.
    """

    tensor: str
    node: str
    weight: bool
    made_by: str
    read_by: str


Place = tuple[int, int] | str  # a step of the placement and one of its ports, or an output
Rounded = frozenset[int]  # indices into ``Switches.uses``


class Switches:
    """The switched session of one float32 model under one conversion's options."""

    def __init__(self, model: Model, options: HalfOptions) -> None:
        self.model = model
        self.options = options
        self.half = options.half
        self.proto = _with_lifted_constants(prepared(model.proto))
        self.types = tensor_types(self.proto, infer=not options.disable_shape_infer)
        self.constants = {t.name for t in self.proto.graph.initializer}
        self.edge = FLOAT if options.keep_io_types else self.half
        plain = self.placement(())
        self._places = list(self._rounding_places(plain))
        self._makers = {name: step for step in plain.steps for name in step.defines}
        self._known_sources: dict[str, frozenset[str] | None] = {}
        self.nodes = tuple(dict.fromkeys(label(step.node) for step in plain.steps))
        self.uses = tuple(self._use(plain, place) for place in self._places)
        self.needs = tuple(map(self._needed, self.uses))
        self._weights: dict[tuple[str, bool], onnxruntime.OrtValue] = {}
        self._flags = {on: onnxruntime.OrtValue.ortvalue_from_numpy(np.array(on)) for on in (True, False)}
        self._inputs, proto = _switched(self)
        self._session = session(_without_unused(proto, model))

    # ---- what a candidate rounds ---------------------------------------------------------------

    def placement(self, kept: Collection[str], proto: ModelProto | None = None) -> Placement:
        """Where everything lives if these nodes stay in float32, beside those the options block."""
        listed = (*self.options.node_block_list, *sorted(kept))
        blocked = replace(self.options, node_block_list=listed).blocks()
        return place(proto or self.proto, self.types, self.half, self.edge, blocked)

    def rounded(self, placement: Placement) -> Rounded:
        """The uses that read half under a placement."""
        return frozenset(i for i, place in enumerate(self._places) if self._is_rounded(placement, place))

    def _is_rounded(self, placement: Placement, place: Place) -> bool:
        if isinstance(place, str):
            return self.half in (self.edge, placement.home.get(place))
        step = placement.steps[place[0]]
        port = step.ports[place[1]]
        if placement.at(step, port) == self.half:
            return True
        return port.tensor not in self.constants and placement.home.get(port.tensor) == self.half

    def _rounding_places(self, plain: Placement) -> Iterator[Place]:
        """Where the plain conversion rounds. What only moves values leaves it to its users."""
        for number, step in enumerate(plain.steps):
            if step.node.op_type in CONTROL_FLOW:
                continue  # what its bodies read is rounded there
            moves = is_exact(step.node)
            for index, port in enumerate(step.ports):
                if port.defines or (moves and port.tensor not in self.constants):
                    continue
                if self._is_rounded(plain, (number, index)):
                    yield number, index
        for value in self.proto.graph.output:
            if self.types.get(value.name) == FLOAT and self._is_rounded(plain, value.name):
                yield value.name

    def _use(self, plain: Placement, place: Place) -> Use:
        node = None if isinstance(place, str) else plain.steps[place[0]].node
        tensor = place if isinstance(place, str) else plain.steps[place[0]].ports[place[1]].tensor
        maker = self._makers.get(tensor)
        return Use(
            tensor,
            label(node) if node else "",
            tensor in self.constants,
            maker.node.op_type if maker else "",
            node.op_type if node else "",
        )

    # ---- what a use needs ----------------------------------------------------------------------

    def _needed(self, use: Use) -> frozenset[str] | None:
        """The nodes that must all be kept so that this use reads what was never rounded.

        None if there is no such set: a half edge of the model rounds whatever is kept inside.
        """
        if not use.node and self.edge != FLOAT:
            return None
        sources = self._sources(use.tensor)
        return None if sources is None else sources | ({use.node} if use.node else frozenset())

    def _sources(self, tensor: str) -> frozenset[str] | None:
        """The nodes that compute a tensor's values, seen through those that only move them."""
        if tensor not in self._known_sources:
            maker = self._makers.get(tensor)
            found: frozenset[str] | None
            if tensor in self.constants:
                found = frozenset()
            elif maker is None:
                found = frozenset() if self.edge == FLOAT else None
            elif maker.kind == "settled":
                found = frozenset({label(maker.node)})
            else:
                inner = [self._sources(name) for name in maker.uses]
                found = None if None in inner else frozenset().union(*(i for i in inner if i))
            self._known_sources[tensor] = found
        return self._known_sources[tensor]

    # ---- the session ---------------------------------------------------------------------------

    def run(self, feeds: Mapping[str, Array], rounded: Collection[int]) -> list[Array]:
        """The model's outputs in float32, with these uses rounded."""
        given = {
            n: onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(a, order="C")) for n, a in feeds.items()
        }
        for index, use in enumerate(self.uses):
            on = index in rounded
            if use.weight:
                given[self._inputs[index]] = self._weight(use.tensor, on)
            else:
                given[self._inputs[index]] = self._flags[on]
        return [v.numpy() for v in self._session.run_with_ort_values(None, given)]

    def _weight(self, name: str, rounded: bool) -> onnxruntime.OrtValue:
        if (name, rounded) not in self._weights:
            values = self.values(name)
            if rounded:
                values = to_half(values, self.options.dtype, self.options.bounds()).astype(np.float32)
            self._weights[name, rounded] = onnxruntime.OrtValue.ortvalue_from_numpy(values)
        return self._weights[name, rounded]

    def values(self, name: str) -> Array:
        """A constant's own values."""
        tensor = next(t for t in self.proto.graph.initializer if t.name == name)
        return Model(self.proto, self.model.weights).array(tensor)


def _switched(of: Switches) -> tuple[list[str], ModelProto]:
    """The graph with its switches, and for each use the input that decides it."""
    proto = ModelProto()
    proto.CopyFrom(of.proto)
    steps = of.placement((), proto).steps  # the same walk, over the copy's nodes
    names = Names.of(proto)
    dims = {t.name: list(t.dims) for t in proto.graph.initializer}
    inputs: list[str] = []
    behind: dict[str, list[NodeProto]] = {}  # tensor -> what rounds it, right behind its definition
    before: dict[str, list[NodeProto]] = {}  # a node's first output, or "" for the end -> its Wheres
    for use, at in zip(of.uses, of._places, strict=True):
        inputs.append(names.take("weight" if use.weight else "switch"))
        picked = inputs[-1]
        if use.weight:
            value = onnx.helper.make_tensor_value_info(picked, TensorProto.FLOAT, dims[use.tensor])
        else:
            value = onnx.helper.make_tensor_value_info(picked, TensorProto.BOOL, [])
            if use.tensor not in behind:
                behind[use.tensor] = list(_pair(use.tensor, of.options.dtype, names))
            picked = names.take(f"{use.tensor}_picked")
            given = [inputs[-1], behind[use.tensor][-1].output[0], use.tensor]
            where = onnx.helper.make_node("Where", given, [picked], names.take(picked))
            user = "" if isinstance(at, str) else _first(steps[at[0]].node)
            before.setdefault(user, []).append(where)
        proto.graph.input.append(value)
        if isinstance(at, str):
            for output in proto.graph.output:
                if output.name == at:
                    output.CopyFrom(ValueInfoProto(name=picked))
        else:
            steps[at[0]].ports[at[1]].rename(picked)
    for graph in graphs(proto.graph):
        del graph.value_info[:]
        nodes = [n for v in graph.input for n in behind.get(v.name, ())]
        for node in graph.node:
            nodes += [*before.get(_first(node), ()), node]
            nodes += [n for name in node.output for n in behind.get(name, ())]
        if graph is proto.graph:
            nodes += before.get("", [])
        kept = GraphProto(node=nodes)
        del graph.node[:]
        graph.node.extend(kept.node)
    return inputs, proto


def _pair(tensor: str, dtype: int, names: Names) -> Iterator[NodeProto]:
    half, back = (names.take(f"{tensor}_{part}") for part in ("half", "rounded"))
    yield onnx.helper.make_node("Cast", [tensor], [half], names.take(half), to=dtype)
    yield onnx.helper.make_node("Cast", [half], [back], names.take(back), to=TensorProto.FLOAT)


def _first(node: NodeProto) -> str:
    """What tells a node from all others: names are distinct, and each node makes something."""
    return str(next(name for name in node.output if name))


def _with_lifted_constants(proto: ModelProto) -> ModelProto:
    """Constant nodes of the main graph as initializers, which the switches know how to round."""
    kept: list[NodeProto] = []
    for node in proto.graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if value is None:
            kept.append(node)
            continue
        tensor = proto.graph.initializer.add()
        tensor.CopyFrom(value.t)
        tensor.name = node.output[0]
    new = GraphProto(node=kept)
    del proto.graph.node[:]
    proto.graph.node.extend(new.node)
    return proto


def _without_unused(proto: ModelProto, model: Model) -> Model:
    used = {name for graph in graphs(proto.graph) for node in graph.node for name in node.input}
    used |= {value.name for graph in graphs(proto.graph) for value in graph.output}
    kept = GraphProto(initializer=[t for t in proto.graph.initializer if t.name in used])
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept.initializer)
    return Model(proto, {name: w for name, w in model.weights.items() if name in used})
