"""Numbers about tensors, taken inside the graph as each tensor is made.

So no more tensors are alive than in any other run. Most tensors fit their type well, and a few
cheap reductions show that; elements are counted only where they do not, in the branch of an If.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import ml_dtypes
import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto
from onnx.helper import make_graph, make_node, make_tensor_value_info

from modelbuild.graph.files import numpy_dtype
from modelbuild.graph.naming import Names, bodies, label, set_nodes
from modelbuild.graph.types import CONTROL_FLOW, FLOAT, attribute, domain, tensor_types


@dataclass(frozen=True)
class Limits:
    """The magnitudes at which a half type loses a value."""

    overflow: float  # the smallest that it rounds to infinity
    zero: float  # the largest that it rounds to zero
    normal: float  # the smallest that it holds with all its digits

    @classmethod
    def of(cls, dtype: int) -> Limits:
        """``dtype`` is TensorProto's."""
        info = ml_dtypes.finfo(numpy_dtype(dtype))  # type: ignore[no-untyped-call]
        step = float(info.eps) * 2.0 ** (int(info.maxexp) - 1)  # from one large value to the next
        zero = float(info.smallest_subnormal) / 2
        return cls(float(info.max) + step / 2, zero, float(info.smallest_normal))


class Gauge(NamedTuple):
    """The scalars that hold the numbers of one tensor."""

    largest: str
    overflows: str
    zeros: str
    nonfinite: str
    total: str
    elements: str


_REDUCED_BY = Gauge("ReduceMax", *["ReduceSum"] * 5)
_INT = TensorProto.INT32
_TYPES = (TensorProto.FLOAT, _INT, _INT, _INT, TensorProto.FLOAT, TensorProto.INT64)


@dataclass(frozen=True)
class Watched:
    """A tensor, the node that makes it (nothing for an input or a weight), and its numbers."""

    tensor: str
    node: str
    op_type: str
    gauge: Gauge


def watch(proto: ModelProto, tensors: Collection[str], limits: Limits) -> list[Watched]:
    """Make ``proto``, whose names are distinct, return numbers about these tensors and nothing else.

    The numbers of a tensor in a body are those of all its iterations. Answers in the graph's order.
    """
    watching = _Watching(proto, tensors, limits)
    found = watching.watch(proto.graph)
    del proto.graph.output[:]
    for watched in found:
        proto.graph.output.extend(_infos(watched.gauge))
    return found


class _Watching:
    def __init__(self, proto: ModelProto, tensors: Collection[str], limits: Limits) -> None:
        self.tensors = frozenset(tensors)
        self.types = tensor_types(proto)
        self.names = Names.of(proto)
        self.graph = proto.graph
        self.one = self._constant("one", 1.0)
        self.nothing = self._constant("nothing", 0.0)
        self.no = self._constant("no", 0, np.int32)
        self.none = self._constant("none", 0, np.int64)
        self.infinity = self._constant("infinity", np.inf)
        self.overflow = self._constant("overflow", limits.overflow)
        self.zero = self._constant("zero", limits.zero)
        self.above_zero = self._constant("above_zero", np.nextafter(np.float32(limits.zero), np.float32(1)))

    def _constant(self, name: str, value: float, dtype: type[np.generic] = np.float32) -> str:
        name = self.names.take(name)
        self.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def watch(self, graph: GraphProto) -> list[Watched]:
        """Put the nodes that take the numbers behind those that make the tensors."""
        nodes: list[NodeProto] = []
        found: list[Watched] = []

        def measure(tensor: str, node: str = "", op_type: str = "") -> None:
            if tensor in self.tensors:
                gauge = self._gauge(tensor)
                nodes.extend(self._measuring(tensor, gauge))
                found.append(Watched(tensor, node, op_type, gauge))

        given = [value.name for value in graph.input] + [tensor.name for tensor in graph.initializer]
        for tensor in dict.fromkeys(given):
            measure(tensor)
        for node in graph.node:
            carried = bodies(node) if node.op_type in CONTROL_FLOW and not domain(node) else []
            inside = [self.watch(body) for body in carried]
            nodes.append(node)
            if any(inside):
                lift = self._lifted_from_branches if node.op_type == "If" else self._lifted_from_loop
                lifted, behind = lift(node, carried, inside)
                found += lifted
                nodes += behind
            for tensor in node.output:
                measure(tensor, label(node), node.op_type)
        set_nodes(graph, nodes)
        return found

    def _gauge(self, tensor: str) -> Gauge:
        return Gauge(*(self.names.take(f"{tensor}_{part}") for part in Gauge._fields))

    def _measuring(self, tensor: str, gauge: Gauge) -> Iterator[NodeProto]:
        """Nodes that make the numbers of ``gauge``."""

        def new(part: str) -> str:
            return self.names.take(f"{tensor}_{part}")

        plain, size, top, total = tensor, new("magnitude"), new("top"), new("total")
        if self.types.get(tensor) != FLOAT:
            plain = new("float")
            yield make_node("Cast", [tensor], [plain], to=TensorProto.FLOAT)
        yield make_node("Abs", [plain], [size])
        yield make_node("ReduceMax", [size], [top], keepdims=0)
        yield make_node("ReduceSum", [size], [total], keepdims=0)  # of a NaN it is none, too
        # x * (1 - x / z) is positive where 0 < x < z, and nowhere else.
        ratio, rest, product, small = new("ratio"), new("rest"), new("product"), new("small")
        yield make_node("Div", [size, self.above_zero], [ratio])
        yield make_node("Sub", [self.one, ratio], [rest])
        yield make_node("Mul", [size, rest], [product])
        yield make_node("ReduceMax", [product], [small], keepdims=0)
        tests = [new(part) for part in ("below", "finite", "falls", "stays", "in_range", "fits")]
        yield make_node("Less", [top, self.overflow], [tests[0]])
        yield make_node("Less", [total, self.infinity], [tests[1]])
        yield make_node("Greater", [small, self.nothing], [tests[2]])
        yield make_node("Not", [tests[2]], [tests[3]])
        yield make_node("And", [tests[0], tests[1]], [tests[4]])
        yield make_node("And", [tests[4], tests[3]], [tests[5]])
        yield make_node(
            "If", [tests[5]], list(gauge[:5]),
            then_branch=self._nothing_lost(tensor, top, total), else_branch=self._counted(tensor, size),
        )  # fmt: skip
        yield make_node("Size", [tensor], [gauge.elements])

    def _nothing_lost(self, tensor: str, top: str, total: str) -> GraphProto:
        own = self._gauge(f"{tensor}_fits")
        nodes = [
            make_node("Identity", [source], [name])
            for source, name in zip((top, self.no, self.no, self.no, total), own[:5], strict=True)
        ]
        return make_graph(nodes, self.names.take(f"{tensor}_fits"), [], _infos(own)[:5])

    def _counted(self, tensor: str, size: str) -> GraphProto:
        own = self._gauge(f"{tensor}_counted")

        def new(part: str) -> str:
            return self.names.take(f"{tensor}_counted_{part}")

        nodes: list[NodeProto] = []

        def add(op_type: str, *inputs: str) -> str:
            name = new(op_type.lower())
            nodes.append(make_node(op_type, list(inputs), [name]))
            return name

        def count(which: str, name: str) -> None:
            ones = new("ones")
            nodes.append(make_node("Cast", [which], [ones], to=_INT))
            nodes.append(make_node("ReduceSum", [ones], [name], keepdims=0))

        finite = add("Less", size, self.infinity)  # NaN is not less than anything
        known = add("Where", finite, size, self.nothing)
        nodes.append(make_node("ReduceMax", [known], [own.largest], keepdims=0))
        nodes.append(make_node("ReduceSum", [known], [own.total], keepdims=0))
        count(add("Xor", finite, add("Less", size, self.overflow)), own.overflows)
        count(add("Xor", add("Greater", size, self.nothing), add("Greater", size, self.zero)), own.zeros)
        count(add("Not", finite), own.nonfinite)
        return make_graph(nodes, new("graph"), [], _infos(own)[:5])

    def _lifted_from_loop(
        self, node: NodeProto, carried: Sequence[GraphProto], inside: Sequence[list[Watched]]
    ) -> tuple[list[Watched], list[NodeProto]]:
        """The numbers of a Loop's or a Scan's body: collected by iteration, then reduced."""
        lifted: list[Watched] = []
        behind: list[NodeProto] = []
        for watched in inside[0]:
            collected, gauge = self._gauge(f"{watched.tensor}_collected"), self._gauge(watched.tensor)
            carried[0].output.extend(_infos(watched.gauge))
            node.output.extend(collected)
            for name in ("scan_output_axes", "scan_output_directions"):
                if given := attribute(node, name):
                    given.ints.extend([0] * len(collected))
            for op_type, source, name in zip(_REDUCED_BY, collected, gauge, strict=True):
                behind.append(make_node(op_type, [source], [name], keepdims=0))
            lifted.append(replace(watched, gauge=gauge))
        return lifted, behind

    def _lifted_from_branches(
        self, node: NodeProto, carried: Sequence[GraphProto], inside: Sequence[list[Watched]]
    ) -> tuple[list[Watched], list[NodeProto]]:
        """The numbers of an If's branches: of the one that is not taken, nothing."""
        lifted: list[Watched] = []
        for taken, branch in zip(inside, carried, strict=True):
            for watched in taken:
                gauge = self._gauge(watched.tensor)
                node.output.extend(gauge)
                lifted.append(replace(watched, gauge=gauge))
                for other in carried:
                    if other is branch:
                        other.output.extend(_infos(watched.gauge))
                        continue
                    empty = self._gauge(f"{watched.tensor}_absent")
                    for source, name in zip(
                        (self.nothing, self.no, self.no, self.no, self.nothing, self.none), empty, strict=True
                    ):
                        other.node.append(make_node("Identity", [source], [name]))
                    other.output.extend(_infos(empty))
        return lifted, []


def _infos(gauge: Gauge) -> list[ValueInfoProto]:
    return [make_tensor_value_info(name, type_, []) for name, type_ in zip(gauge, _TYPES, strict=True)]
