"""Shapes in a graph: what inference knows of them, and axes pinned at a size."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import GraphProto, ModelProto, TypeProto

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic
from modelbuild.graph.files import Model
from modelbuild.graph.naming import graphs

INFERRED_AXIS = "unk__"
"""How ONNX's shape inference begins the names of axes that it cannot tell."""


def annotate(model: Model) -> None:
    """Write what inference knows of the tensors inside into the graph: types, ranks, sizes, axes.

    Viewers and editors of graphs read them there. What the file said before is forgotten, and an
    axis that inference gave a name of its own has none: two tools would number them differently.
    """
    graph = model.proto.graph
    forget(graph)
    own = {d.dim_param for value in graph.input for d in value.type.tensor_type.shape.dim}
    for body, known in zip(graphs(graph), graphs(inferred(model.proto).graph), strict=True):
        body.value_info.extend(known.value_info)
        for value in (*body.value_info, *body.output):
            for dim in value.type.tensor_type.shape.dim if value.type.HasField("tensor_type") else ():
                if dim.dim_param.startswith(INFERRED_AXIS) and dim.dim_param not in own:
                    dim.Clear()


def forget(graph: GraphProto) -> None:
    """Drop what a graph says of the tensors inside, for a rewriting that would make it untrue."""
    for body in graphs(graph):
        del body.value_info[:]


def infer_outputs(model: Model) -> None:
    """Fill the outputs' types and dims from inference, where it knows more than the graph says."""
    for value, known in zip(model.proto.graph.output, inferred(model.proto).graph.output, strict=True):
        value.type.CopyFrom(known.type if known.type.WhichOneof("value") else value.type)


def inferred(proto: ModelProto, *, values: bool = True) -> ModelProto:
    """The model with inferred types and shapes; as it was where inference gives up.

    ``values`` of shapes that are computed tell of other shapes; types need none.
    """
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=values)
    except Exception as error:  # inference is advice: the checker and the proof judge the file
        passing.met(error)
        return proto


def pin(model: Model, sizes: Mapping[str, int]) -> tuple[Diagnostic, ...]:
    """Replace named axes by sizes in the interface, and infer the outputs' shapes anew.

    What was inferred while the axes were free may be wrong now, ranks included: a Squeeze without
    axes drops an axis that is pinned at 1. Returns what to say of outputs that have another rank.
    """
    graph = model.proto.graph
    free = [_dims(value.type) for value in graph.output]
    forget(graph)
    for body in graphs(graph):
        for value in (*body.input, *body.output):
            _pin(value.type, sizes)
    pinned = [_copied(value.type) for value in graph.output]
    _unshape(graph)
    infer_outputs(model)
    said = []
    kept = not _may_change_rank(graph)
    for value, was, named in zip(graph.output, pinned, free, strict=True):
        if not _complete(value.type, was, kept=kept):
            said.append(_another_rank(value.name, _dims(value.type), named))
    return tuple(said)


def _another_rank(name: str, now: list[str] | None, before: list[str] | None) -> Diagnostic:
    shapes = [f"[{', '.join(dims or [])}]" for dims in (now, before)]
    return Diagnostic(
        "outputs-mismatch",
        f"output `{name}` has shape {shapes[0]} here, {shapes[1]} in the dynamic file",
        "callers have to expect another rank; `squeeze()` without an axis in forward() does that, "
        "`squeeze(-1)` or `flatten(1)` does not",
        level="warning",
    )


def _dims(kind: TypeProto) -> list[str] | None:
    """A tensor's axes as they are told, ``?`` for one that nobody knows; None without a rank."""
    if not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims]


def _pin(kind: TypeProto, sizes: Mapping[str, int]) -> None:
    for dim in kind.tensor_type.shape.dim if kind.HasField("tensor_type") else ():
        if dim.dim_param in sizes:
            dim.dim_value = sizes[dim.dim_param]


def _copied(kind: TypeProto) -> TypeProto:
    copy = TypeProto()
    copy.CopyFrom(kind)
    return copy


def _unshape(graph: GraphProto) -> None:
    """Take the shapes off everything that is computed, and off what bodies are given.

    A scalar stays one: no axis is pinned in it, and ONNX Runtime wants to know that of a Loop's counter.
    """
    for body in graphs(graph):
        for value in body.output if body is graph else (*body.input, *body.output):
            if value.type.tensor_type.shape.dim:
                value.type.tensor_type.ClearField("shape")


def _may_change_rank(graph: GraphProto) -> bool:
    """Whether a rank depends on sizes that inference may not know: of a Squeeze without axes."""
    return any(
        node.op_type == "Squeeze"
        and len([name for name in node.input if name]) < 2
        and not any(a.name == "axes" for a in node.attribute)
        for body in graphs(graph)
        for node in body.node
    )


def _complete(kind: TypeProto, was: TypeProto, *, kept: bool) -> bool:
    """Fill what inference left open with what was declared; False if the rank is another.

    ``kept`` says that a rank which inference does not know is still the declared one.
    """
    if not kind.HasField("tensor_type") or not was.tensor_type.HasField("shape"):
        return True
    if not kind.tensor_type.HasField("shape"):
        if kept:
            kind.tensor_type.shape.CopyFrom(was.tensor_type.shape)
        return True
    dims, old = kind.tensor_type.shape.dim, was.tensor_type.shape.dim
    if len(dims) != len(old):
        return False
    for dim, declared in zip(dims, old, strict=True):
        if not dim.HasField("dim_value") and declared.WhichOneof("value"):
            dim.CopyFrom(declared)
    return True
