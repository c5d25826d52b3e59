"""A half precision graph, computed on any machine as hardware would: what it stores, it rounds.

ONNX Runtime's CPU provider runs half precision nodes in float32 and never rounds between them, so
its run of a half precision file shows neither the error nor the overflow. Here every tensor that
the file holds in half becomes float32 whose values are halves: behind each node that makes one,
``Cast(half) -> Cast(float)`` rounds it (to nearest, ties to even, overflow to infinity). That is
half storage with float32 accumulation, what tensor cores do. ONNX Runtime 1.31 keeps explicit
pairs at every optimisation level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto

from modelbuild.graph.files import Model
from modelbuild.graph.naming import Names, bodies, graphs, make_distinct
from modelbuild.graph.ops import is_exact
from modelbuild.graph.precision import inlined
from modelbuild.graph.types import (
    CONTROL_FLOW, HALF_TYPES, TYPE_ATTRIBUTE, attribute, domain, opset_versions, ports,
    tensor_types,
)  # fmt: skip


@dataclass(frozen=True)
class Simulation:
    """A simulated graph, and where to look in it.

    ``before`` names, for each half tensor of the file that is rounded, the tensor that holds its
    values before; ``after``, for every half tensor, the one that holds its values as float32.
    """

    model: Model
    before: Mapping[str, str]
    after: Mapping[str, str]


def simulated(model: Model) -> Model:
    """The graph with the same inputs and outputs that rounds what ``model`` holds in half.

    Nodes kept in float32, and all that is not floating point, compute what they did. Weights stay
    half in the file: they are cast once, when ONNX Runtime folds constants.
    """
    return simulation(model).model


def simulation(model: Model) -> Simulation:
    """``simulated``, with the names under which the rounded tensors can be watched."""
    proto = inlined(model.proto)
    make_distinct(proto.graph)
    rewriting = _Rewriting(proto)
    rewriting.run()
    return Simulation(Model(proto, dict(model.weights)), rewriting.before, rewriting.after)


class _Rewriting:
    """Turns ``proto``, in place, into its simulation."""

    def __init__(self, proto: ModelProto) -> None:
        self.proto = proto
        self.opsets = opset_versions(proto)
        types = tensor_types(proto)
        self.halves = {name: HALF_TYPES[t] for name, t in types.items() if t in HALF_TYPES}
        self.types = types
        self.names = Names.of(proto)
        # A name that outlives the rewriting with its type: of the model's edges and of weights.
        self.kept = {v.name for v in (*proto.graph.input, *proto.graph.output)}
        for graph in graphs(proto.graph):
            self.kept |= {tensor.name for tensor in graph.initializer}
        self.before: dict[str, str] = {}
        self.after = {
            name: self.names.take(f"{name}_fp32") if name in self.kept else name
            for name in self.halves
        }

    def run(self) -> None:
        for value in self.proto.graph.value_info:
            ...
