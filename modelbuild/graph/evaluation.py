"""What follows from weights and constants alone, computed once and for all: nothing is fused or renamed.

For a graph that is not to be simplified. ONNX Runtime computes it, as it would when the file is run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx.numpy_helper
from onnx import GraphProto, ModelProto, NodeProto

from modelbuild.base import passing
from modelbuild.graph.constants import fold_constants
from modelbuild.graph.files import ON_DISK_FROM, Array, Model, empty_initializer, weight_of
from modelbuild.graph.folding import fold_transposes, replace
from modelbuild.graph.named_weights import Held
from modelbuild.graph.naming import reads
from modelbuild.graph.ops import is_independent
from modelbuild.graph.runtime import session

_LARGEST = 1 << 16  # bytes; what is larger is folded only where it takes no more room than its weights
_HELD_APART = frozenset({"QuantizeLinear", "DequantizeLinear"})  # what engines read types off


def fold_computed(model: Model, held: Sequence[str] = ()) -> None:
    """Put values in the place of nodes that need no input; weights that are ``held`` stay unknown."""
    weights = Held.out_of(model, held) if held else None
    fold_constants(model)
    fold_transposes(model)
    nodes = _independent(model.proto.graph)
    values = _values(model, nodes)
    if values:
        _put(model, nodes, values)
    if weights is not None:
        weights.back_in(model)


def _independent(graph: GraphProto) -> list[NodeProto]:
    """The nodes that follow from weights and constants, in order; Constants among them."""
    known = {t.name for t in graph.initializer} - {value.name for value in graph.input}
    found: list[NodeProto] = []
    for node in graph.node:
        reads = {name for name in node.input if name}
        if node.op_type in _HELD_APART or not reads <= known or not is_independent(node, known):
            continue
        known.update(node.output)
        found.append(node)
    return found


def _values(model: Model, nodes: Sequence[NodeProto]) -> dict[str, Array]:
    """What the others use of what these nodes give, but for what would make the file grow."""
    graph = model.proto.graph
    made = {name: node for node in nodes if node.op_type != "Constant" for name in node.output if name}
    inside = {id(node) for node in nodes}
    others = [node for node in graph.node if id(node) not in inside]
    asked = set().union(*map(reads, others))
    wanted = [name for name in made if name in asked]
    if not wanted:
        return {}
    needed = _behind(nodes, wanted)
    proto = ModelProto(ir_version=model.proto.ir_version, opset_import=model.proto.opset_import)
    proto.graph.name = "constants"
    proto.graph.node.extend(needed)
    read = {name for node in needed for name in node.input}
    proto.graph.initializer.extend(t for t in graph.initializer if t.name in read)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    own = {n: w for n, w in model.weights.items() if n in read}
    try:
        values = session(Model(proto, own)).run(wanted, {})
    except Exception as error:  # of a type without a kernel here: the graph is as good unfolded
        passing.met(error)
        return {}
    found = dict(zip(wanted, values, strict=True))
    room = sum(w.nbytes for name, w in own.items() if name not in asked)
    return {n: v for n, v in found.items() if isinstance(v, np.ndarray) and v.nbytes <= max(_LARGEST, room)}


def _behind(nodes: Sequence[NodeProto], wanted: Sequence[str]) -> list[NodeProto]:
    """Those of the nodes that one of these values needs, in order."""
    needed = set(wanted)
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _put(model: Model, nodes: Sequence[NodeProto], values: dict[str, Array]) -> None:
    """The values as weights, without the nodes that nobody needs any more."""
    graph = model.proto.graph
    needed = {o.name for o in graph.output}
    known = {id(node) for node in nodes}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if id(node) in known and not (set(node.output) - values.keys()) & needed:
            continue
        needed |= reads(node)
        kept.append(node)
    tensors = list(graph.initializer)
    for name, value in values.items():
        tensor = onnx.numpy_helper.from_array(value, name)
        if value.nbytes > ON_DISK_FROM:
            model.weights[name] = weight_of(np.ascontiguousarray(value), tensor.data_type)
            tensor = empty_initializer(name, tensor.data_type, value.shape)
        tensors.append(tensor)
    replace(model, kept[::-1], tensors)
