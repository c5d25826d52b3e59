"""Recurrent nodes that round as they go, as storage in half does.

ONNX Runtime's CPU provider computes all of an LSTM, a GRU or an RNN in float32. Hardware stores the
states in half between time steps, TensorRT the gates, too: it takes the node apart into operators,
as PyTorch does. That is not the rounding of one output: a gate of 0.9991 is 0.9990 in half, and a
GRU that averages over 1000 time steps is then off by 8 %, where rounding its outputs alone shows
0.1 %. So the node runs inside a Scan, one time step at a time, operator by operator (``cells``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto
from onnx.helper import make_graph, make_node, make_tensor_value_info

from modelbuild.graph.cells import Nodes, has_cell, input_part, step
from modelbuild.graph.naming import Names
from modelbuild.graph.types import attribute, domain

# Operator -> its states and its activation functions, per direction.
_RECURRENT = {"LSTM": (2, 3), "GRU": (1, 2), "RNN": (1, 1)}
_SINCE = 13  # the opset from which Squeeze, Unsqueeze and Split take numbers as an input
_X, _W, _R, _B, _LENGTHS, _STATE, _PEEPHOLES = 0, 1, 2, 3, 4, 5, 7


def stepped(node: NodeProto, half: int, names: Names, opset: int) -> list[NodeProto]:
    """What computes a float32 node's outputs with all that it stores on the way rounded to ``half``.

    Outputs are not rounded beyond that. With other formulas than PyTorch's, the states alone are
    rounded. A node that ONNX Runtime's CPU provider does not run (batch before time), or that
    scales the activation functions of two directions, stays whole.
    """
    if domain(node) or node.op_type not in _RECURRENT or opset < _SINCE or not _can_step(node):
        return [node]
    return _Stepping(node, half, names).run()


def _can_step(node: NodeProto) -> bool:
    layout, both = attribute(node, "layout"), len(_directions(node)) == 2
    scaled = attribute(node, "activation_alpha") or attribute(node, "activation_beta")
    return attribute(node, "hidden_size") is not None and not (layout and layout.i) and not (both and scaled)


def _directions(node: NodeProto) -> list[str]:
    given = attribute(node, "direction")
    direction = given.s.decode() if given else "forward"
    return ["forward", "reverse"] if direction == "bidirectional" else [direction]


class _Stepping:
    """One node's Scans, and what is around them."""

    def __init__(self, node: NodeProto, half: int, names: Names) -> None:
        self.node, self.directions = node, _directions(node)
        self.inputs = [*node.input, *[""] * 8][:8]
        self.states, self.activations = _RECURRENT[node.op_type]
        self.outputs = [*node.output, *[""] * 3][: 1 + self.states]
        hidden = attribute(node, "hidden_size")
        self.hidden = int(hidden.i) if hidden else 0
        self.names, self.half = names, half
        self.prefix = next(name for name in node.output if name)
        self.nodes = self._nodes()

    def run(self) -> list[NodeProto]:
        nodes = self.nodes
        given = self.inputs[_STATE : _STATE + self.states]
        states = [name or self._zeros() for name in given]
        weights = [self.inputs[i] for i in (_W, _R, _B, _PEEPHOLES)]
        times = self._times() if self.inputs[_LENGTHS] else ""
        if len(self.directions) == 1:
            self._scan(0, [name or nodes.new("unused") for name in self.outputs], states, weights, times)
            return nodes
        made: list[list[str]] = []
        for index, direction in enumerate(self.directions):
            made.append([nodes.new(direction) for _ in self.outputs])
            own = [self._part(name, index) for name in (*states, *weights)]
            self._scan(index, made[-1], own[: self.states], own[self.states :], times)
        for output, axis, pair in zip(self.outputs, (1, 0, 0), zip(*made, strict=True), strict=False):
            if output:
                nodes.add("Concat", *pair, into=output, axis=axis)
        return nodes

    def _scan(
        self, index: int, made: Sequence[str], states: Sequence[str], weights: Sequence[str], times: str
    ) -> None:
        """A direction's time steps; ``made`` are the outputs, of which the states come out rounded."""
        x, cell = self.inputs[_X], has_cell(self.node)
        if cell:
            x = input_part(self.nodes, x, weights[0], weights[2], self.node.op_type, self.hidden)
        scanned = [x, *([times] if times else [])]
        direction = self.directions[index]
        backwards = int(direction == "reverse")
        y, *last = made
        scan = make_node(
            "Scan",
            [*states, *scanned],
            [*last, y],
            self.names.take(f"{self.node.name or self.prefix}_{direction}"),
            body=self._body(index, weights, cell=cell, timed=bool(times)),
            num_scan_inputs=len(scanned),
            scan_input_directions=[backwards] * len(scanned),
            scan_output_directions=[backwards],
        )
        self.nodes.append(scan)

    def _body(self, index: int, weights: Sequence[str], *, cell: bool, timed: bool) -> GraphProto:
        """One time step, from the states before it to the states behind it."""
        nodes = self._nodes()
        old = [nodes.new("state") for _ in range(self.states)]
        x, time = nodes.new("x"), nodes.new("time")
        if cell:
            new = step(nodes, self.node.op_type, self.hidden, x, weights[1], weights[2], old)
        else:
            new = self._whole(nodes, index, x, weights, old)
        y = new[0]
        if timed:  # past its end a sequence keeps its states, and its output is zero
            going = nodes.add("Less", time, self.inputs[_LENGTHS])
            going = nodes.add("Unsqueeze", going, nodes.constant(np.array([0, 2])))
            y = nodes.add("Where", going, y, nodes.constant(np.zeros(1, np.float32)))
            new = [nodes.add("Where", going, *pair) for pair in zip(new, old, strict=True)]
        rounded = list(map(nodes.rounded, new))
        inputs = [*map(_state, old), make_tensor_value_info(x, TensorProto.FLOAT, [None, None])]
        if timed:
            inputs.append(make_tensor_value_info(time, TensorProto.INT32, []))
        return make_graph(nodes, nodes.new("body"), inputs, list(map(_state, (*rounded, y))))

    def _whole(
        self, nodes: Nodes, index: int, x: str, weights: Sequence[str], states: Sequence[str]
    ) -> list[str]:
        """The node itself, over one time step, with what was before as its initial states."""
        made = [nodes.new("whole") for _ in states]
        w, r, b, peepholes = weights
        x = nodes.add("Unsqueeze", x, nodes.constant(np.array([0])))
        whole = NodeProto(op_type=self.node.op_type, name=nodes.new("step"))
        whole.input.extend([x, w, r, b, "", *states, *([peepholes] if peepholes else [])])
        whole.output.extend(["", *made])
        whole.attribute.extend(a for a in self.node.attribute if a.name != "direction")
        if given := attribute(whole, "activations"):
            first = index * self.activations
            given.strings[:] = given.strings[first : first + self.activations]
        nodes.append(whole)
        return made

    def _part(self, name: str, index: int) -> str:
        """What a direction takes of a tensor that holds both, along its first axis."""
        return name and self.nodes.add("Gather", name, self.nodes.constant(np.array([index])), axis=0)

    def _zeros(self) -> str:
        """Initial states of all directions, where none are given."""
        nodes = self.nodes
        shape = nodes.add("Shape", self.inputs[_X])
        batch = nodes.add("Gather", shape, nodes.constant(np.array([1])), axis=0)
        ends = [nodes.constant(np.array([size])) for size in (len(self.directions), self.hidden)]
        return nodes.add("ConstantOfShape", nodes.add("Concat", ends[0], batch, ends[1], axis=0))

    def _times(self) -> str:
        """0, 1, 2, ...: a number for each time step."""
        nodes = self.nodes
        shape = nodes.add("Shape", self.inputs[_X])
        count = nodes.add("Gather", shape, nodes.constant(np.array(0)), axis=0)
        start, by = (nodes.constant(np.array(value, np.int32)) for value in (0, 1))
        return nodes.add("Range", start, nodes.add("Cast", count, to=TensorProto.INT32), by)

    def _nodes(self) -> Nodes:
        return Nodes(self.names, self.prefix, self.half)


def _state(name: str) -> ValueInfoProto:
    """Direction, batch, hidden."""
    return make_tensor_value_info(name, TensorProto.FLOAT, [None, None, None])
