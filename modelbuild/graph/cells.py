"""One time step of a recurrent node, operator by operator, each result rounded to half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper
from onnx.helper import make_node

from modelbuild.graph.files import Array
from modelbuild.graph.naming import Names
from modelbuild.graph.types import attribute

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DEFAULTS = {"LSTM": [b"Sigmoid", b"Tanh", b"Tanh"], "GRU": [b"Sigmoid", b"Tanh"], "RNN": [b"Tanh"]}
_OTHER_FORMULAS = ("clip", "input_forget", "activation_alpha", "activation_beta")
_PEEPHOLES = 7


class Nodes(list[NodeProto]):
    """Nodes in order, with names that nothing else in the graph has."""

    def __init__(self, names: Names, prefix: str, half: int) -> None:
        super().__init__()
        self.names, self.prefix, self.half = names, prefix, half

    def new(self, part: str) -> str:
        """A name for a tensor."""
        return self.names.take(f"{self.prefix}_{part}")

    def add(self, op_type: str, *inputs: str, into: str = "", **attributes: Any) -> str:
        """The output of a new node."""
        output = into or self.new(op_type.lower())
        self.append(make_node(op_type, inputs, [output], self.names.take(f"{output}_node"), **attributes))
        return output

    def split(self, name: str, sizes: Sequence[int]) -> list[str]:
        """Parts of a tensor's last axis."""
        parts = [self.new("part") for _ in sizes]
        given = [name, self.constant(np.array(sizes))]
        self.append(make_node("Split", given, parts, self.names.take(f"{parts[0]}_node"), axis=-1))
        return parts

    def rounded(self, name: str) -> str:
        return self.add("Cast", self.add("Cast", name, to=self.half), to=TensorProto.FLOAT)

    def constant(self, values: Array) -> str:
        return self.add("Constant", value=numpy_helper.from_array(values))


def has_cell(node: NodeProto) -> bool:
    """Whether the node computes what PyTorch's does, which is what ``step`` can write down."""
    if any(attribute(node, name) for name in _OTHER_FORMULAS) or any(node.input[_PEEPHOLES:]):
        return False
    if node.op_type == "GRU" and not ((given := attribute(node, "linear_before_reset")) and given.i):
        return False
    given = attribute(node, "activations")
    defaults = _DEFAULTS[node.op_type]
    return given is None or list(given.strings) in (defaults, defaults * 2)


def input_part(nodes: Nodes, x: str, weight: str, bias: str, op_type: str, hidden: int) -> str:
    """What all time steps take from the input, in one product."""
    return _product(nodes, x, weight, bias, op_type, hidden, second=False)


def step(
    nodes: Nodes, op_type: str, hidden: int, given: str, weight: str, bias: str, states: Sequence[str]
) -> list[str]:
    """The next states, not yet rounded; ``given`` is a time step's ``input_part``."""
    memory = _product(nodes, states[0], weight, bias, op_type, hidden, second=True)
    match op_type:
        case "LSTM":
            return _lstm(nodes, hidden, nodes.rounded(nodes.add("Add", given, memory)), states[1])
        case "GRU":
            return [_gru(nodes, hidden, given, memory, states[0])]
        case _:
            return [nodes.add("Tanh", nodes.rounded(nodes.add("Add", given, memory)))]


def _product(nodes: Nodes, x: str, weight: str, bias: str, op_type: str, hidden: int, *, second: bool) -> str:
    """``x`` by a weight of one direction, with its half of the bias, rounded once."""
    zero = nodes.constant(np.array([0]))
    flat = nodes.add("Transpose", nodes.add("Squeeze", weight, zero), perm=[1, 0])
    product = nodes.add("MatMul", x, flat)
    if bias:
        width = _GATES[op_type] * hidden
        product = nodes.add("Add", product, nodes.split(bias, [width, width])[second])
    return nodes.rounded(product)


def _lstm(nodes: Nodes, hidden: int, gates: str, cell: str) -> list[str]:
    three, new = nodes.split(gates, [3 * hidden, hidden])
    opened = nodes.split(nodes.rounded(nodes.add("Sigmoid", three)), [hidden] * 3)
    taken, shown, kept = opened  # input, output and forget gate
    new = nodes.rounded(nodes.add("Tanh", new))
    old = nodes.rounded(nodes.add("Mul", kept, cell))
    cell = nodes.add("Add", old, nodes.rounded(nodes.add("Mul", taken, new)))
    return [nodes.add("Mul", shown, nodes.rounded(nodes.add("Tanh", nodes.rounded(cell)))), cell]


def _gru(nodes: Nodes, hidden: int, given: str, memory: str, state: str) -> str:
    two_given, new_given = nodes.split(given, [2 * hidden, hidden])
    two_memory, new_memory = nodes.split(memory, [2 * hidden, hidden])
    two = nodes.rounded(nodes.add("Add", two_given, two_memory))
    kept, reset = nodes.split(nodes.rounded(nodes.add("Sigmoid", two)), [hidden, hidden])
    memory = nodes.rounded(nodes.add("Mul", reset, new_memory))
    new = nodes.rounded(nodes.add("Tanh", nodes.rounded(nodes.add("Add", new_given, memory))))
    one = nodes.constant(np.array(1, np.float32))
    new = nodes.rounded(nodes.add("Mul", nodes.rounded(nodes.add("Sub", one, kept)), new))
    return nodes.add("Add", new, nodes.rounded(nodes.add("Mul", kept, state)))
