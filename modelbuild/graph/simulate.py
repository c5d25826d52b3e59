"""A half precision graph, computed on any machine as hardware would: what it stores, it rounds.

ONNX Runtime's CPU provider runs half precision nodes in float32 and never rounds between them, so
its run of a half precision file shows neither the error nor the overflow. Here every tensor that
the file holds in half becomes float32 whose values are halves: behind each node that makes one,
``Cast(half) -> Cast(float)`` rounds it (to nearest, ties to even, overflow to infinity). That is
half storage with float32 accumulation, what tensor cores do. ONNX Runtime 1.31 keeps explicit
pairs at every optimisation level.

Inside a node nothing is rounded, whatever a library's kernel does there; but for the states of a
recurrent one, which are stored after every time step (``recurrence``).

QuantizeLinear is the arithmetic that it stands for, in float32. A sum of products of dequantized values
is then that of the whole numbers themselves, as integer hardware has it: int8 products are exact in
float32, and so are their sums up to 2^24.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto

from modelbuild.graph.files import Model
from modelbuild.graph.naming import Names, bodies, graphs, prepared, set_nodes
from modelbuild.graph.ops import is_exact, is_product
from modelbuild.graph.quantization.arithmetic import is_whole, rounded
from modelbuild.graph.recurrence import stepped
from modelbuild.graph.types import HALF_TYPES, TYPE_ATTRIBUTE, attribute, domain, tensor_types

_CLIP_SINCE = 13  # the opset since which Clip takes its bounds as inputs of any float type
_FLOATS = frozenset({TensorProto.FLOAT, *HALF_TYPES.values()})


@dataclass(frozen=True)
class Simulation:
    """A simulated graph, and where to look in it.

    ``before`` names, for each half tensor of the file that is rounded, the tensor that holds its
    values before; ``after``, for every half tensor, the one that holds its values as float32. Where
    nothing is rounded the two are one tensor. ``halves`` are the half tensors with their types.
    """

    model: Model
    before: Mapping[str, str]
    after: Mapping[str, str]
    halves: Mapping[str, int]  # TensorProto.DataType


def simulated(model: Model) -> Model:
    """The graph with the same inputs and outputs that rounds what ``model`` holds in half.

    Nodes kept in float32, and all that is not floating point, compute what they did. Weights stay
    half in the file: they are cast once, when ONNX Runtime folds constants.
    """
    return simulation(model).model


def simulation(model: Model, *, rounding: bool = True) -> Simulation:
    """``simulated``, with the names under which the rounded tensors can be watched.

    Without ``rounding`` it is the same graph in float32, weights as they are in the file: what the
    values would be if the type had every range and every precision.
    """
    proto = prepared(model.proto)
    rewriting = _Rewriting(proto, rounding)
    rewriting.run()
    return Simulation(Model(proto, dict(model.weights)), rewriting.before, rewriting.after, rewriting.halves)


class _Rewriting:
    """Turns ``proto``, in place, into its simulation."""

    def __init__(self, proto: ModelProto, rounding: bool) -> None:
        self.proto = proto
        self.rounding = rounding
        self.types = tensor_types(proto)
        self.halves = {n: HALF_TYPES[t] for n, t in self.types.items() if t in HALF_TYPES}
        self.names = Names.of(proto)
        self.multiplied = _multiplied_alone(proto)
        self.zeros = _zeros(proto)
        # A name that outlives the rewriting with its type: of the model's edges and of weights.
        self.kept = {v.name for v in (*proto.graph.input, *proto.graph.output)}
        for graph in graphs(proto.graph):
            self.kept |= {tensor.name for tensor in graph.initializer}
        self.before: dict[str, str] = {}
        self.after = {
            name: self.names.take(f"{name}_fp32") if name in self.kept else name for name in self.halves
        }

    def run(self) -> None:
        for graph in reversed(list(graphs(self.proto.graph))):  # not those that ``stepped`` adds
            main = graph is self.proto.graph
            del graph.value_info[:]
            if not main:
                for value in (*graph.input, *graph.output):
                    _to_float(value.type)
                    value.name = self.after.get(value.name, value.name)
            given = [v.name for v in graph.input if main] + [t.name for t in graph.initializer]
            waiting = {name: None for name in given if name in self.halves}
            nodes: list[NodeProto] = []
            for node in graph.node:
                # Behind the one before its first user, so that a run in this order holds few weights.
                used = list(waiting) if bodies(node) else [n for n in node.input if n in waiting]
                nodes += self._casts(used, waiting)
                nodes += self._rewritten(node)
            nodes += self._casts(list(waiting), waiting)  # a body may return one as it is
            set_nodes(graph, nodes)

    def _rewritten(self, node: NodeProto) -> list[NodeProto]:
        """A node in float32, and behind it what rounds its outputs."""
        exact = is_exact(node) or bool(bodies(node))  # bodies have rounded what they return
        exact = exact or (node.op_type == "DequantizeLinear" and self.multiplied.issuperset(node.output))
        if node.op_type == "Cast" and not domain(node) and node.output[0] in self.halves:
            if self.types.get(node.input[0]) != self.types[node.output[0]]:
                return self._rewritten_cast(node)
            exact = True
        node.input[:] = [self.after.get(name, name) for name in node.input]
        _make_float(node)
        if node.output[0] in self.zeros:
            return self._quantizing(node, *self.zeros[node.output[0]])
        half = next((self.halves[name] for name in node.output if name in self.halves), None)
        behind: list[NodeProto] = []
        for index, name in enumerate(node.output):
            if name not in self.halves:
                continue
            after = self.after[name]
            if exact or not self.rounding:
                node.output[index] = after
                if not exact:
                    self.before[name] = after
                if after != name:
                    behind.append(self._cast(after, name, self.halves[name]))
            else:
                node.output[index] = self.before[name] = self.names.take(f"{name}_unrounded")
                behind += self._rounding(node.output[index], name)
        if half is None or exact or not self.rounding:
            return [node, *behind]
        return [*stepped(node, half, self.names, Model(self.proto).opset), *behind]

    def _quantizing(self, node: NodeProto, zero: int, elem_type: int) -> list[NodeProto]:
        """QuantizeLinear as arithmetic: ONNX Runtime moves the node itself elsewhere."""
        whole = self.names.take(f"{node.output[0]}_whole")
        found = rounded(node.input[0], node.input[1], zero, elem_type, whole, self.names)
        return [*found, self._cast(whole, node.output[0], elem_type)]

    def _rewritten_cast(self, node: NodeProto) -> list[NodeProto]:
        """A Cast to half is the first half of a rounding pair."""
        source, name = self.after.get(node.input[0], node.input[0]), node.output[0]
        self.before[name] = source if self.rounding else self.after[name]
        return self._rounding(source, name)

    def _rounding(self, source: str, name: str) -> list[NodeProto]:
        after = self.after[name]
        if not self.rounding:
            same = self._cast(source, after, TensorProto.FLOAT)  # of an integer, too
            return [same] if after == name else [same, self._cast(after, name, self.halves[name])]
        half = name if after != name else self.names.take(f"{name}_half")
        return [
            self._cast(source, half, self.halves[name]),
            self._cast(half, after, TensorProto.FLOAT),
        ]

    def _casts(self, names: Iterable[str], waiting: dict[str, None]) -> Iterator[NodeProto]:
        """What makes inputs and weights float32, once."""
        for name in dict.fromkeys(names):
            del waiting[name]
            yield self._cast(name, self.after[name], TensorProto.FLOAT)

    def _cast(self, source: str, target: str, to: int) -> NodeProto:
        # Two nodes of one name do not load, and a node of the file may be called like a tensor.
        return onnx.helper.make_node("Cast", [source], [target], self.names.take(f"{target}_cast"), to=to)


def _multiplied_alone(proto: ModelProto) -> set[str]:
    """The tensors that are read by sums of products and nothing else.

    Where they are dequantized, whole numbers are multiplied: nothing rounds what they stand for.
    """
    found: set[str] = set()
    others = {value.name for graph in graphs(proto.graph) for value in graph.output}
    for graph in graphs(proto.graph):
        for node in graph.node:
            (found if is_product(node) else others).update(node.input)
    return found - others


def _zeros(proto: ModelProto) -> dict[str, tuple[int, int]]:
    """By its output, the zero point of each QuantizeLinear with one scale, and its type; if it is known."""
    if Model(proto).opset < _CLIP_SINCE:
        return {}
    known: dict[str, TensorProto] = {}
    for graph in graphs(proto.graph):
        known.update((t.name, t) for t in graph.initializer)
        values = ((n.output[0], attribute(n, "value")) for n in graph.node if n.op_type == "Constant")
        known.update((name, value.t) for name, value in values if value is not None)
    found = {}
    for graph in graphs(proto.graph):
        for node in graph.node:
            if node.op_type != "QuantizeLinear" or domain(node) or len(node.input) < 3:
                continue
            scale, zero = known.get(node.input[1]), known.get(node.input[2])
            if scale is None or zero is None or math.prod((*scale.dims, *zero.dims)) != 1:
                continue
            if scale.data_type in _FLOATS and is_whole(zero.data_type):
                value = int(onnx.numpy_helper.to_array(zero).reshape(-1)[0])
                found[node.output[0]] = (value, zero.data_type)
    return found


def _make_float(node: NodeProto) -> None:
    """Make what a node's attributes say of half precision say it of float32."""
    if domain(node):
        return
    names = {"SequenceEmpty": "dtype", "DequantizeLinear": "output_dtype"}
    names |= {op: name for op, (name, _) in TYPE_ATTRIBUTE.items()}
    given = attribute(node, names.get(node.op_type, "value"))
    if given is None:
        return
    if node.op_type in ("Constant", "ConstantOfShape"):
        if given.t.data_type in HALF_TYPES.values():
            values = onnx.numpy_helper.to_array(given.t).astype(np.float32)
            given.t.CopyFrom(onnx.numpy_helper.from_array(values))
    elif given.i in HALF_TYPES.values():
        given.i = TensorProto.FLOAT


def _to_float(of: TypeProto) -> None:
    match of.WhichOneof("value"):
        case "tensor_type" if of.tensor_type.elem_type in HALF_TYPES.values():
            of.tensor_type.elem_type = TensorProto.FLOAT
        case "sequence_type":
            _to_float(of.sequence_type.elem_type)
        case "optional_type":
            _to_float(of.optional_type.elem_type)
