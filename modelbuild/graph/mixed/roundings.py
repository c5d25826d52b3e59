"""Every place where a plain conversion rounds, and what it takes to leave it unrounded."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_node

from modelbuild.graph.files import Array, Model
from modelbuild.graph.mixed.reduction import Kind, Rounded, Use, Wire
from modelbuild.graph.naming import Names, graphs, label, prepared, set_nodes
from modelbuild.graph.ops import decides, is_exact, is_product
from modelbuild.graph.placement import PlacedNode, Placement, place
from modelbuild.graph.precision import HalfOptions
from modelbuild.graph.recurrence import stepped
from modelbuild.graph.rounding import to_half
from modelbuild.graph.types import CONTROL_FLOW, FLOAT, attribute, tensor_types


class Roundings:
    """The uses of one float32 model that a conversion with these options rounds.

    ``proto`` is the graph that they are about: names distinct, constants lifted to initializers.
    ``work`` are the nodes that half precision is for: those that sum up products, or all where none does.
    ``needs[i]`` are the nodes that must all stay in float32 so that use ``i`` reads what was never
    rounded; None if there are none such, as a half edge of the model rounds whatever is kept inside.
    """

    outside = "fp32"

    def __init__(self, model: Model, options: HalfOptions) -> None:
        self.model = model
        self.options = options
        self.edge = FLOAT if options.keep_io_types else options.half
        self.proto = with_lifted_constants(prepared(model.proto))
        self.types = tensor_types(self.proto, infer=not options.disable_shape_infer)
        self.sizes = {t.name: math.prod(t.dims) for t in self.proto.graph.initializer}
        self.constants = set(self.sizes)
        self._used = {name for graph in graphs(self.proto.graph) for n in graph.node for name in n.input}
        self._used |= {v.name for graph in graphs(self.proto.graph) for v in graph.output}
        plain = self.placement(())
        self._makers = {name: step for step in plain.steps for name in step.defines}
        self._known_sources: dict[str, frozenset[str] | None] = {}
        self.nodes = tuple(dict.fromkeys(label(step.node) for step in plain.steps))
        self.uses = tuple(self._found(plain))
        rounding = frozenset(use.node for use in self.uses if use.node)
        products = frozenset(label(step.node) for step in plain.steps if is_product(step.node))
        self.work = rounding & products or rounding
        self.needs = tuple(map(self._needed, self.uses))

    def placement(self, kept: Collection[str], proto: ModelProto | None = None) -> Placement:
        """Where everything lives if these nodes stay in float32, beside those the options block."""
        listed = (*self.options.node_block_list, *sorted(kept))
        blocked = replace(self.options, node_block_list=listed).blocks()
        return place(proto or self.proto, self.types, self.options.half, self.edge, blocked)

    def rounded(self, kept: Collection[str]) -> Rounded:
        """The uses that are rounded if these nodes stay in float32."""
        placement = self.placement(kept)
        return frozenset(i for i, use in enumerate(self.uses) if self._is_rounded(placement, use))

    def share(self, kept: Collection[str]) -> tuple[float, int, int]:
        """How much is half with these nodes kept: the share of the work, and how many nodes of how many.

        The share of the work is that of the weights' elements, or that of the nodes that sum up products
        (of all, where none does), whichever is larger: three nodes of a table of angles are most of a
        small model and none of its work.
        """
        every = frozenset(range(len(self.uses)))
        rounded = self.rounded(kept)
        nodes, half = ({self.uses[i].node for i in uses} - {""} for uses in (every, rounded))
        half = half.difference(kept)
        sizes = [sum(self.sizes[t] for t in self._weights(uses)) for uses in (rounded, every)]
        shares = [part / whole for part, whole in ((len(half & self.work), len(self.work)), sizes) if whole]
        return max(shares, default=0.0) if half else 0.0, len(half), len(nodes)

    def _weights(self, uses: Collection[int]) -> set[str]:
        return {self.uses[i].tensor for i in uses if self.uses[i].kind == "weight"}

    def _is_rounded(self, placement: Placement, use: Use) -> bool:
        half = self.options.half
        if use.kind == "output":
            return half in (self.edge, placement.home.get(use.tensor))
        if use.kind == "state":
            return placement.home.get(use.tensor) == half
        step = placement.steps[use.step]
        if placement.at(step, step.ports[use.port]) == half:
            return True
        return use.kind == "value" and placement.home.get(use.tensor) == half

    # ---- in a copy of the graph ------------------------------------------------------------------

    def wires(self, proto: ModelProto) -> list[Wire | None]:
        steps = self.placement((), proto).steps  # the same walk, over the copy's nodes
        return [self._wire(steps, use) for use in self.uses]

    @staticmethod
    def _wire(steps: list[PlacedNode], use: Use) -> Wire | None:
        if use.kind == "output":
            return None
        step = steps[use.step]
        return Wire(step.node, step.ports[use.port].rename)  # of a state nothing is renamed

    def pair(self, use: Use, names: Names) -> Iterator[NodeProto]:
        half, back = (names.take(f"{use.tensor}_{part}") for part in ("half", "rounded"))
        yield make_node("Cast", [use.tensor], [half], names.take(half), to=self.options.dtype)
        yield make_node("Cast", [half], [back], names.take(back), to=TensorProto.FLOAT)

    def as_rounded(self, use: Use, values: Array) -> Array:
        return to_half(values, self.options.dtype, self.options.bounds()).astype(np.float32)

    def in_steps(self, node: NodeProto, names: Names) -> list[NodeProto]:
        return stepped(node, self.options.dtype, names, Model(self.proto).opset)

    # ---- finding -------------------------------------------------------------------------------

    def _found(self, plain: Placement) -> Iterator[Use]:
        for number, step in enumerate(plain.steps):
            if step.node.op_type not in CONTROL_FLOW:  # what bodies read is rounded there
                found = (*self._of_inputs(number, step), *self._of_state(number, step))
                yield from (use for use in found if self._is_rounded(plain, use))
        for value in self.proto.graph.output:
            if self.types.get(value.name) == FLOAT:
                use = Use("output", value.name, "", self._made_by(value.name), "")
                if self._is_rounded(plain, use):
                    yield use

    def _of_inputs(self, number: int, step: PlacedNode) -> Iterator[Use]:
        moves = is_exact(step.node) and not decides(step.node, self._used)
        for index, port in enumerate(step.ports):
            constant = port.tensor in self.constants
            if port.defines or (moves and not constant):
                continue  # what only moves values leaves the rounding to its users
            kind: Kind = "weight" if constant else "value"
            made_by = self._made_by(port.tensor)
            yield Use(kind, port.tensor, label(step.node), made_by, step.node.op_type, number, index)

    def _of_state(self, number: int, step: PlacedNode) -> Iterator[Use]:
        made = next(iter(step.defines), "")
        copy = NodeProto()
        copy.CopyFrom(step.node)
        if made and len(stepped(copy, self.options.dtype, Names(()), Model(self.proto).opset)) > 1:
            yield Use("state", made, label(step.node), step.node.op_type, step.node.op_type, number)

    def _made_by(self, tensor: str) -> str:
        maker = self._makers.get(tensor)
        return maker.node.op_type if maker else ""

    # ---- what a use needs ----------------------------------------------------------------------

    def _needed(self, use: Use) -> frozenset[str] | None:
        if use.kind == "state":
            return frozenset({use.node})
        if use.kind == "output" and self.edge != FLOAT:
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


def with_lifted_constants(proto: ModelProto) -> ModelProto:
    """Constant nodes of the main graph as initializers, so that they are weights like others."""
    kept: list[NodeProto] = []
    for node in proto.graph.node:
        value = attribute(node, "value") if node.op_type == "Constant" else None
        if value is None:
            kept.append(node)
            continue
        tensor = proto.graph.initializer.add()
        tensor.CopyFrom(value.t)
        tensor.name = node.output[0]
    set_nodes(proto.graph, kept)
    return proto
