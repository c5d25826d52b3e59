"""The opset at which the operators of a graph take half precision.

bfloat16 came to operators one opset after another: to matrix products in 13, to convolutions in
22. Below that a graph that holds bfloat16 there is not valid, and a conversion would keep those
nodes in float32 without a word. So the opset is raised, as far as is needed and no further.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.graph import interface
from modelbuild.graph.files import Model, parse
from modelbuild.graph.naming import prepared
from modelbuild.graph.placement import must_stay, walk
from modelbuild.graph.types import (
    CONTROL_FLOW,
    FLOAT,
    SHORT,
    Port,
    domain,
    opset_versions,
    ports,
    tensor_types,
    type_name,
)
from modelbuild.machine.isolate import in_child
from modelbuild.wording.phrases import few

NEWEST = 25
"""The last opset that the exporters write and that ONNX Runtime 1.31 takes."""

_NAMED = 5  # operators that a message names


def raised(
    model: Model, dtype: int, blocked: Callable[[NodeProto], bool] | None = None
) -> tuple[Model, tuple[Diagnostic, ...]]:
    """The same graph at the lowest opset whose operators take ``dtype`` wherever the graph holds it.

    It holds ``dtype`` in the tensors that have this type and, if it is to be converted, in the
    float32 tensors of nodes that are not ``blocked``. An operator that takes it at no opset up to
    ``NEWEST`` asks for nothing.

    Raises:
        StepError: ``opset-mismatch``; the converter cannot do it, or what it made is not valid.
    """
    proto = prepared(model.proto)
    wanted = _wanted(proto, f"tensor({type_name(dtype)})", blocked)
    if not wanted:
        return model, ()
    target, who = max(wanted.values()), _listed(wanted)
    name = SHORT[dtype]
    made, reason = converted(model, proto, target)
    if made is None:
        other = "take `method: convert`"
        if blocked is not None:
            other = "keep these operators in fp32 with `op_block_list`"
        raise StepError(
            Diagnostic(
                "opset-mismatch",
                f"{name} needs opset {target} for {who}, and ONNX's version converter does not raise "
                f"this graph from {model.opset}: {reason}",
                f"set `opset: {target}`, or {other}",
            )
        )
    said = f"raised from opset {model.opset} to {target}, as {name} needs it for {who}"
    return made, (Diagnostic("opset-mismatch", said, level="info"),)


def converted(model: Model, proto: ModelProto, target: int) -> tuple[Model | None, str]:
    """The graph at another opset, by ONNX's version converter; or None, and its reason.

    ``proto`` is the model's own, or a copy to convert in its place. The converter sees no large
    weight, and runs in a child: it is native code.
    """
    ended = in_child(lambda: _converted(proto, target))
    if not ended.ok:
        return None, " ".join((ended.died or str(ended.error)).split())[:300]
    made = _with_weights(model, proto, parse(ended.value))
    changed = interface.same_interface(model, made)
    return (None, changed) if changed else (made, "")


def _wanted(proto: ModelProto, half: str, blocked: Callable[[NodeProto], bool] | None) -> dict[str, int]:
    """Operator -> the opset at which most of its tensors can be ``half``, if that is not the graph's."""
    types, opsets = tensor_types(proto), opset_versions(proto)
    wanted: dict[str, int] = {}
    for node, keep in walk(proto.graph, blocked or (lambda _: True)):
        now = ports(node, opsets)
        fixed = keep or (node.op_type not in CONTROL_FLOW and must_stay(node, now, types))
        halves = {half} if fixed else {half, FLOAT}
        count = sum(types.get(port.tensor) in halves for port in now)
        most = _held(now, types, half, halves)
        if domain(node) or most == count:
            continue
        for version in range(opsets[""] + 1, NEWEST + 1):
            held = _held(ports(node, {**opsets, "": version}), types, half, halves)
            if held > most:
                most, wanted[node.op_type] = held, max(version, wanted.get(node.op_type, 0))
    return wanted


def _held(found: Sequence[Port], types: Mapping[str, str], half: str, halves: set[str]) -> int:
    """How many of a node's tensors can be ``half`` by its schema, of those that have these types."""
    refused = {p.variable for p in found if types.get(p.tensor) not in halves or half not in p.allowed}
    return sum(port.variable not in refused for port in found)


def _converted(proto: ModelProto, target: int) -> bytes:
    """The structure at another opset, checked and serialised; weights that are elsewhere are inputs.

    Raises:
        Exception: the converter's own, or the checker's.
    """
    aside = [t for t in proto.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    kept = [t for t in proto.graph.initializer if t.data_location != TensorProto.EXTERNAL]
    listed = {value.name for value in proto.graph.input}
    structure = ModelProto()
    structure.CopyFrom(proto)
    del structure.graph.initializer[:]
    structure.graph.initializer.extend(kept)
    structure.graph.input.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
        for t in aside
        if t.name not in listed
    )
    lowest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", target)])
    structure.ir_version = max(structure.ir_version, lowest)
    made = onnx.version_converter.convert_version(structure, target)
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


def _with_weights(model: Model, before: ModelProto, made: ModelProto) -> Model:
    """The converted structure with its weights back, in their order, and its inputs as they were."""
    interface.strip(made)  # the converter notes every shape that it inferred
    new = {t.name: t for t in made.graph.initializer}
    old = {t.name: t for t in before.graph.initializer}
    tensors = [new.get(name, tensor) for name, tensor in old.items()]
    kept = GraphProto(
        input=before.graph.input, initializer=[*tensors, *(t for n, t in new.items() if n not in old)]
    )
    del made.graph.input[:], made.graph.initializer[:]
    made.graph.input.extend(kept.input)
    made.graph.initializer.extend(kept.initializer)
    return Model(made, dict(model.weights))


def _listed(wanted: Mapping[str, int]) -> str:
    """``Conv, MaxPool, ConstantOfShape (20)``: the neediest first, the others with their opset."""
    target = max(wanted.values())
    ranked = sorted(wanted.items(), key=lambda item: (-item[1], item[0]))
    return few([op if version == target else f"{op} ({version})" for op, version in ranked], _NAMED)
