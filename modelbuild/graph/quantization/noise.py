"""How far each int8 node is from the float32 graph: what has come together by there, and its own part.

Both graphs run as one, side by side, and what is asked of a tensor is summed up in the graph itself as
the tensor is made. So no more tensors are alive than in two runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.compose
from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_node, make_tensor_value_info

from modelbuild.graph.files import Array, Model
from modelbuild.graph.naming import Names, label, prepared, set_nodes
from modelbuild.graph.quantization.arithmetic import begins
from modelbuild.graph.quantization.reading import int8_nodes
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulation

_FAR = 300.0  # dB on either side that stand for all or nothing: JSON has no infinity


@dataclass(frozen=True)
class Noise:
    """The ratio of signal to noise, in dB, of what an int8 node makes; None where there is no noise.

    ``own`` is that of the node alone, reading what the float32 graph has there.
    """

    node: str  # its label in the float32 graph
    op_type: str
    tensor: str
    sqnr: float | None
    own: float | None


def noise(model: Model, made: Model, feeds: Iterable[Mapping[str, Array]]) -> tuple[Noise, ...]:
    """Of the int8 file ``made`` of the float32 ``model``, the worst first, over all these inputs together.

    ``feeds`` are arrays of the types of the float32 model's inputs. A node one of whose values is not finite
    is left out.
    """
    beside = _Beside(model, made)
    if not beside.watched:
        return ()
    running = session(beside.merged(), as_written=True)
    names = [name for watched in beside.watched for name in watched.sums]
    total = np.zeros(len(names))
    with np.errstate(over="ignore", invalid="ignore"):
        for feed in feeds:
            total += np.array([value.item() for value in running.run(names, dict(feed))])
    rows = zip(beside.watched, total.reshape(-1, 3), strict=True)
    found = [
        Noise(w.node, w.op_type, w.tensor, decibels(signal, error), decibels(signal, own))
        for w, (signal, error, own) in rows
        if math.isfinite(signal + error + own)
    ]
    return tuple(sorted(found, key=lambda n: math.inf if n.sqnr is None else n.sqnr))


def decibels(signal: float, error: float) -> float | None:
    """The ratio of two sums of squares; None where there is no error."""
    if error == 0:
        return None
    return 10 * math.log10(signal / error) if signal > 0 else -_FAR


@dataclass(frozen=True)
class _Watched:
    """A node in both graphs. ``sums`` are the squares of its float32 values, of what int8 is off by, and of
    what the node is off by alone."""

    node: str
    op_type: str
    tensor: str
    sums: tuple[str, str, str]


class _Beside:
    """Both graphs in one; names of the int8 one have a prefix."""

    def __init__(self, model: Model, made: Model) -> None:
        self.plain = prepared(model.proto)
        file = prepared(made.proto)
        simulated = simulation(made)
        self.prefix = _unused(self.plain)
        self.proto = onnx.compose.add_prefix(simulated.model.proto, self.prefix)
        self.weights = {
            **model.weights,
            **{self.prefix + name: weight for name, weight in simulated.model.weights.items()},
        }
        self.names = Names.of(self.plain)
        self.makers = {name: node for node in self.proto.graph.node for name in node.output}
        self.copies: dict[str, str] = {}  # by tensor of the int8 graph, as it is on float32 values
        self.wanted: dict[str, tuple[int, str]] = {}  # by what it makes: its number, and that unrounded
        for number, tensor in _same(self.plain, file):
            after = simulated.after.get(tensor, tensor)
            before = simulated.before.get(tensor, after)
            self.wanted[self.prefix + after] = (number, self.prefix + before)
        self.watched: list[_Watched] = []
        self.nodes = list(self._edges())
        self._interleave()

    def _interleave(self) -> None:
        """At each int8 node the float32 graph up to it, then the node, then the sums."""
        mine, done = list(self.plain.graph.node), 0
        for node in self.proto.graph.node:
            self.nodes.append(node)
            for name in node.output:
                if name in self.wanted:
                    number, before = self.wanted[name]
                    self.nodes += mine[done : number + 1]
                    done = max(done, number + 1)
                    self.nodes += self._summed(mine[number], name, before)

    def merged(self) -> Model:
        """One graph that gives the sums."""
        graph = onnx.GraphProto(name="noise", input=self.plain.graph.input)
        for part in (self.plain.graph, self.proto.graph):
            graph.initializer.extend(part.initializer)
            graph.sparse_initializer.extend(part.sparse_initializer)
        for watched in self.watched:
            graph.output.extend(make_tensor_value_info(n, TensorProto.DOUBLE, []) for n in watched.sums)
        set_nodes(graph, self.nodes)
        versions = {o.domain: o.version for p in (self.plain, self.proto) for o in p.opset_import}
        opsets = [onnx.helper.make_opsetid(where, version) for where, version in versions.items()]
        ir_version = max(self.plain.ir_version, self.proto.ir_version)
        proto = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
        return Model(proto, self.weights)

    def _edges(self) -> Iterator[NodeProto]:
        """The int8 file's inputs, out of the float32 graph's."""
        own = {tensor.name for tensor in self.proto.graph.initializer}
        plain = {value.name: value.type.tensor_type.elem_type for value in self.plain.graph.input}
        for value in self.proto.graph.input:
            source, to = value.name.removeprefix(self.prefix), value.type.tensor_type.elem_type
            if value.name in own or source not in plain:
                continue
            if plain[source] == to:
                yield make_node("Identity", [source], [value.name])
            else:
                yield make_node("Cast", [source], [value.name], to=to)

    def _summed(self, node: NodeProto, after: str, before: str) -> Iterator[NodeProto]:
        tensor = node.output[0]
        alone = self.names.take(f"{tensor}_alone")
        yield from self._alone(node, self.makers[before], alone)
        signal, error, own = (self.names.take(f"{tensor}_{what}") for what in ("signal", "error", "own"))
        yield from self._squares(tensor, None, signal)
        yield from self._squares(tensor, after, error)
        yield from self._squares(tensor, alone, own)
        self.watched.append(_Watched(label(node), node.op_type, tensor, (signal, error, own)))

    def _squares(self, tensor: str, other: str | None, made: str) -> Iterator[NodeProto]:
        """The squares of a tensor, or of its difference from another, summed up."""
        if other is not None:
            tensor, difference = self.names.take(f"{made}_difference"), tensor
            yield make_node("Sub", [difference, other], [tensor])
        exact = self.names.take(f"{made}_exact")
        yield make_node("Cast", [tensor], [exact], to=TensorProto.DOUBLE)
        yield make_node("ReduceSumSquare", [exact], [made], keepdims=0)

    def _alone(self, plain: NodeProto, whole: NodeProto, made: str) -> Iterator[NodeProto]:
        """The int8 node on what its float32 version reads."""
        inputs = list(whole.input)
        for index, name in enumerate(inputs[:2]):
            chain = self._chain(name)
            if chain is None:  # a weight: of no run
                continue
            if name not in self.copies:
                source = plain.input[index]
                for link in chain:
                    made_again = self.names.take(f"{link.output[0]}_again")
                    yield _copy(link, [source, *link.input[1:]], made_again)
                    source = made_again
                self.copies[name] = source
            inputs[index] = self.copies[name]
        yield _copy(whole, inputs, made)

    def _chain(self, name: str) -> Sequence[NodeProto] | None:
        """From where an input of an int8 node begins to be rounded to that input."""
        found: list[NodeProto] = []
        while (node := self.makers.get(name)) is not None:
            found.insert(0, node)
            if begins(node):
                return found
            name = node.input[0]
        return None


def _copy(node: NodeProto, inputs: Sequence[str], made: str) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name = made
    copy.input[:] = inputs
    copy.output[:] = [made]
    return copy


def _same(plain: ModelProto, file: ModelProto) -> Iterator[tuple[int, str]]:
    """What the int8 nodes of a file make, each with the number of the node that it was.

    A conversion leaves the order of nodes as it is. A name tells less: a node that has none is called by
    what it makes, and that may have another name in the file.
    """
    whole = {node.output[0]: node.op_type for node in int8_nodes(file)}
    for op_type in dict.fromkeys(whole.values()):
        before = [i for i, node in enumerate(plain.graph.node) if node.op_type == op_type]
        now = [node.output[0] for node in file.graph.node if node.op_type == op_type]
        if len(before) == len(now):
            yield from ((number, made) for number, made in zip(before, now, strict=True) if made in whole)


def _unused(proto: ModelProto) -> str:
    """A prefix that no name of a model has."""
    prefix = "int8/"
    names = {name for node in proto.graph.node for name in (node.name, *node.output)}
    names |= {value.name for value in (*proto.graph.input, *proto.graph.initializer)}
    while any(name.startswith(prefix) for name in names):
        prefix = "_" + prefix
    return prefix
