"""Which tensors of a float32 graph are held in half precision.

Every float32 tensor has a home, the precision its node makes it in. What a node can take is read
from its schema, type variable by type variable; what is left open there is settled so that no
value is rounded between two places that both want it in float32:

- a source (Cast, Constant) makes what its users want;
- a node that only moves values, or computes with shapes, is float32 if what it takes can be had
  unrounded and somebody wants the result so;
- a lone use (Shape, ArgMax, Cast to an integer) takes whatever there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from onnx import GraphProto, ModelProto, NodeProto

from modelbuild.graph.naming import bodies, graphs
from modelbuild.graph.ops import accumulates, is_exact, is_independent
from modelbuild.graph.types import (
    CONTROL_FLOW,
    FLOAT,
    TYPE_ATTRIBUTE,
    Port,
    attribute,
    domain,
    opset_versions,
    ports,
)

SOURCES = frozenset({"Cast", "Constant", "ConstantOfShape"})
# What else says its own type makes values out of nothing (EyeLike, RandomNormal, ...): ONNX Runtime
# has no half kernels for these on a CPU, and cannot put its Casts around them.
_KEPT = frozenset(TYPE_ATTRIBUTE) - SOURCES


@dataclass(frozen=True)
class PlacedNode:
    """A node, its float32 ports, and for each type variable what is settled: float32 or half."""

    node: NodeProto
    ports: tuple[Port, ...]
    settled: Mapping[str, str]
    kind: Literal["settled", "source", "follows"]

    @property
    def defines(self) -> list[str]:
        return [port.tensor for port in self.ports if port.defines]

    @property
    def uses(self) -> list[str]:
        return [port.tensor for port in self.ports if not port.defines]


@dataclass
class Placement:
    """Where each float32 tensor lives, and in which precisions it is wanted."""

    half: str
    steps: list[PlacedNode]
    home: dict[str, str]
    wanted: defaultdict[str, set[str]]

    def at(self, step: PlacedNode, port: Port) -> str:
        """The type of the version that a port holds."""
        home = self.home.get(port.tensor, FLOAT)
        if port.defines or step.kind == "source":
            return home
        if step.kind == "follows":
            if step.defines:
                return self.home[step.defines[0]]
            homes = {self.home.get(name, FLOAT) for name in step.uses}
            return home if len(homes) == 1 else self.half
        return step.settled.get(port.variable, home)


def place(
    proto: ModelProto,
    types: Mapping[str, str],
    half: str,
    edge: str,
    blocked: Callable[[NodeProto], bool],
) -> Placement:
    """Settle the precision of every float32 tensor in ``proto``, whose names are distinct.

    ``edge`` is the type that float32 inputs and outputs of the model get; a ``blocked`` node stays
    float32 with all it carries.
    """
    constants = {t.name for graph in graphs(proto.graph) for t in graph.initializer}
    independent = set(constants)
    opsets = opset_versions(proto)
    steps: list[PlacedNode] = []
    for node, keep in walk(proto.graph, blocked):
        steps.append(_step(node, ports(node, opsets), types, half, keep, independent))
        if is_independent(node, independent):
            independent.update(node.output)

    inputs = [v.name for v in proto.graph.input if v.name not in constants]
    home = {name: edge for name in inputs if types.get(name) == FLOAT}
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for value in proto.graph.output:
        wanted[value.name].add(edge)
    for step in steps:
        for port in step.ports:
            if port.variable in step.settled:
                if port.defines:
                    home[port.tensor] = step.settled[port.variable]
                else:
                    wanted[port.tensor].add(step.settled[port.variable])

    whole = _unrounded(steps, constants, home)
    for step in steps:
        if step.node.op_type == "Cast" and not step.defines and whole.issuperset(step.uses):
            for name in step.uses:
                wanted[name].add(FLOAT)
    for step in reversed(steps):  # users first
        if step.kind != "settled":
            _settle(step, half, whole, home, wanted)

    listed = {value.name for graph in graphs(proto.graph) for value in graph.input}
    pinned = {value.name for value in proto.graph.output} & listed
    for name in sorted(constants):
        if types[name] == FLOAT:
            only_half = wanted[name] == {half}
            home[name] = edge if name in pinned else half if only_half else FLOAT
    return Placement(half, steps, home, wanted)


def walk(
    graph: GraphProto, blocked: Callable[[NodeProto], bool], keep: bool = False
) -> Iterator[tuple[NodeProto, bool]]:
    """All nodes, a body's before its carrier; and whether they must stay in float32."""
    for node in graph.node:
        kept = keep or blocked(node)
        for body in bodies(node):
            yield from walk(body, blocked, kept or node.op_type not in CONTROL_FLOW)
        yield node, kept


def _step(
    node: NodeProto,
    found: list[Port],
    types: Mapping[str, str],
    half: str,
    keep: bool,
    independent: set[str],
) -> PlacedNode:
    floats = tuple(p for p in found if types.get(p.tensor) == FLOAT)
    halvable = {port.variable: True for port in floats}
    for port in found:
        is_float = types.get(port.tensor) == FLOAT
        if port.variable in halvable and not (is_float and half in port.allowed):
            halvable[port.variable] = False
    settled = {variable: half if can else FLOAT for variable, can in halvable.items()}
    if node.op_type in CONTROL_FLOW and not (keep or domain(node)):
        return PlacedNode(node, floats, settled, "settled")
    if keep or must_stay(node, found, types):
        return PlacedNode(node, floats, dict.fromkeys(settled, FLOAT), "settled")
    if all(halvable.values()):
        if node.op_type in SOURCES and any(port.defines for port in floats):
            return PlacedNode(node, floats, {}, "source")
        if len(floats) == 1 and not floats[0].defines:
            return PlacedNode(node, floats, {}, "settled")
        if is_exact(node) or is_independent(node, independent):
            return PlacedNode(node, floats, {}, "follows")
    return PlacedNode(node, floats, settled, "settled")


def must_stay(node: NodeProto, found: list[Port], types: Mapping[str, str]) -> bool:
    """Whether no type variable of a node can be half, whatever its schema says.

    Sequences and optionals of tensors keep their element type, so what fills or reads them does;
    other domains promise nothing about half precision, and neither does a type nobody knows.
    """
    if domain(node) or node.op_type in _KEPT or attribute(node, "sparse_value"):
        return True
    if accumulates(node):
        return True
    return any(not types.get(port.tensor, "").startswith("tensor") for port in found)


def _unrounded(steps: list[PlacedNode], constants: set[str], home: Mapping[str, str]) -> set[str]:
    """The tensors that can be had in float32 without having been rounded before."""
    whole = constants | {name for name, type_ in home.items() if type_ == FLOAT}
    for step in steps:
        if step.kind == "source" or (step.kind == "follows" and whole.issuperset(step.uses)):
            whole.update(step.defines)
    return whole


def _settle(
    step: PlacedNode,
    half: str,
    whole: set[str],
    home: dict[str, str],
    wanted: defaultdict[str, set[str]],
) -> None:
    """Give a source, or a node that follows, the precision that its users want.

    One that makes no floats, a comparison, goes with those who use what it compares.
    """
    told = step.defines or step.uses
    asked = any(FLOAT in wanted[name] for name in told)
    chosen = FLOAT if asked and whole.issuperset(told) else half
    for name in step.defines:
        home[name] = chosen
    if step.kind == "follows":
        for name in step.uses:
            wanted[name].add(chosen)
