"""Whether a tensor is infinite where a half precision file holds it in half: asked in the run of the proof.

A sum of what was rounded shows it, in one pass over values that are at hand: it is infinite or no number
where one of them is. It does not tell an overflow from an infinity that the model has itself, as in a
mask: where it rings, ``ranges`` looks at those tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import NodeProto, TensorProto
from onnx.helper import make_node, make_tensor_value_info

from modelbuild.graph.files import Array, Model
from modelbuild.graph.naming import Names, set_nodes
from modelbuild.graph.simulate import Simulation
from modelbuild.graph.types import domain

# These make nothing that is larger than what they read, or than 1: their inputs tell.
_TAME = frozenset(
    {"AveragePool", "Clip", "Cos", "Dropout", "Elu", "Erf", "Gelu", "GlobalAveragePool", "HardSigmoid"}
    | {"HardSwish", "MaxPool", "Mish", "Relu", "Sigmoid", "Sin", "Softmax", "Softsign", "Sqrt", "Tanh"}
)


@dataclass(frozen=True)
class Alarms:
    """A simulation whose last outputs are sums, and the tensors of the file that they are of.

    ``blind`` says that bodies of an If, a Loop or a Scan round tensors, too, of which nothing is told.
    """

    model: Model
    tensors: tuple[str, ...]
    blind: bool

    @classmethod
    def of(cls, simulated: Simulation) -> Alarms:
        """A sum for every rounded tensor of the main graph, behind the outputs that are there."""
        proto = simulated.model.proto
        names = Names.of(proto)
        rounded = {simulated.after[tensor]: tensor for tensor in simulated.before}
        nodes: list[NodeProto] = []
        tensors: list[str] = []
        makers: dict[str, NodeProto] = {}
        for node in proto.graph.node:
            nodes.append(node)
            makers.update(dict.fromkeys(node.output, node))
            for output in node.output:
                tensor = rounded.pop(output, None)
                if tensor is None or _is_tame(makers.get(simulated.before[tensor])):
                    continue
                total = names.take(f"{output}_sum")
                nodes.append(make_node("ReduceSum", [output], [total], keepdims=0))
                proto.graph.output.append(make_tensor_value_info(total, TensorProto.FLOAT, []))
                tensors.append(tensor)
        set_nodes(proto.graph, nodes)
        return cls(simulated.model, tuple(tensors), blind=bool(rounded))

    def ringing(self, outs: Sequence[Array]) -> frozenset[str]:
        """The tensors with an infinity or a NaN in them, by the values of all outputs of a run."""
        sums = outs[len(outs) - len(self.tensors) :]
        return frozenset(t for t, s in zip(self.tensors, sums, strict=True) if not math.isfinite(s.item()))


def _is_tame(node: NodeProto | None) -> bool:
    return node is not None and node.op_type in _TAME and not domain(node)
