"""A graph's inputs and outputs: as the recipe names them, in its order, with its axes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.base.tensors import TensorSpec
from modelbuild.graph.files import Model
from modelbuild.graph.naming import Names, bodies, graphs, reads, value_names
from modelbuild.graph.shapes import INFERRED_AXIS, infer_outputs


@dataclass(frozen=True)
class GraphPort:
    """One graph input or output. ``None`` in ``shape`` is an axis that the graph does not name."""

    name: str
    dtype: int  # TensorProto.DataType
    shape: tuple[int | str | None, ...] | None


def port(info: onnx.ValueInfoProto) -> GraphPort:
    tensor = info.type.tensor_type
    if not tensor.HasField("shape"):
        return GraphPort(info.name, tensor.elem_type, None)
    dims = tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim)
    return GraphPort(info.name, tensor.elem_type, dims)


def inputs(model: Model) -> tuple[GraphPort, ...]:
    """The graph's inputs; initializers that are listed among them are not inputs to a caller."""
    own = {t.name for t in model.proto.graph.initializer}
    return tuple(port(i) for i in model.proto.graph.input if i.name not in own)


def outputs(model: Model) -> tuple[GraphPort, ...]:
    return tuple(port(o) for o in model.proto.graph.output)


def elem_type(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def rename(model: Model, names: Mapping[str, str]) -> None:
    """Rename values everywhere; all at once, so that two may swap."""
    for graph in graphs(model.proto.graph):
        _rename(graph, names)
    model.weights = {names.get(n, n): w for n, w in model.weights.items()}


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        if value.name in names:
            value.name = names[value.name]
    for node in graph.node:
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                if name in names:
                    field[i] = names[name]


# ---- after the exporter -----------------------------------------------------------------------


def traces(proto: ModelProto) -> dict[str, str]:
    """Node -> what its exporter noted of the Python stack that made it; without constants."""
    return dict(_traces(proto.graph))


def _traces(graph: GraphProto) -> Iterator[tuple[str, str]]:
    for node in graph.node:
        noted = {entry.key: entry.value for entry in node.metadata_props}
        trace = noted.get("pkg.torch.onnx.stack_trace") or node.doc_string
        if trace and node.op_type != "Constant":
            yield node.name, trace
        for inner in bodies(node):
            yield from _traces(inner)


def strip(proto: ModelProto) -> None:
    """Remove what depends on where and when the exporter ran: source paths, docs, metadata."""
    del proto.metadata_props[:]
    proto.doc_string = ""
    _strip(proto.graph)
    for function in proto.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            _strip_node(node)


def _strip(graph: GraphProto) -> None:
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]  # an exporter's notes on its traced sizes; inference gives true ones
    for value in (*graph.input, *graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    for node in graph.node:
        _strip_node(node)


def _strip_node(node: NodeProto) -> None:
    node.doc_string = ""
    del node.metadata_props[:]
    for body in bodies(node):
        _strip(body)


def settle(
    model: Model,
    specs: Sequence[TensorSpec],
    names: Sequence[str] | None,
    labels: Sequence[str] = (),
    *,
    keep_names: bool = False,
) -> tuple[Diagnostic, ...]:
    """Give an exported graph exactly the recipe's interface: these inputs, these output names.

    ``labels`` say where each output was in forward()'s result, for the message. ``keep_names`` says
    that without ``names`` callers know the graph's own: those that cannot stay are told.

    Raises:
        StepError: ``outputs-mismatch``, ``baked-axis``, ``inputs-mismatch``.
    """
    graph = model.proto.graph
    if names is not None and len(names) != len(graph.output):
        have = [f"`{n}`" for n in (labels or [o.name for o in graph.output])]
        raise StepError(
            Diagnostic(
                "outputs-mismatch",
                f"the recipe names {len(names)} outputs, the model has {len(graph.output)}: "
                + ", ".join(have),
                "give `outputs` one name for each, in this order",
            )
        )
    _must_be_in_order(names or (), labels or ([o.name for o in graph.output] if keep_names else ()))
    if keep_names:
        _free_output_names(model)
    renamed = _own_outputs(graph, {s.name for s in specs})
    _name_outputs(model, specs, names)
    _settle_inputs(model, specs)
    _forget_traced_output_sizes(model, specs)
    told = map(_renamed, renamed.items()) if keep_names and names is None else ()
    return (*told, *unused_inputs(graph))


def _must_be_in_order(names: Sequence[str], known: Sequence[str]) -> None:
    """Names go by position, so that one which the model gives to another output would be a lie."""
    at = {name: i for i, name in enumerate(known)}
    wrong = next((n for i, n in enumerate(names) if at.get(n, i) != i), None)
    if wrong is None:
        return
    have = ", ".join(re.sub(r"\W+", "_", name).strip("_") for name in known)
    raise StepError(
        Diagnostic(
            "outputs-mismatch",
            f"the recipe calls output {names.index(wrong) + 1} `{wrong}`, which is the model's name for "
            f"output {at[wrong] + 1}",
            f"names go by position: write them in the model's order, `outputs: [{have}]`, or other names",
        )
    )


def _renamed(names: tuple[str, str]) -> Diagnostic:
    return Diagnostic(
        "outputs-mismatch",
        f"output `{names[0]}` is called `{names[1]}` here: its name is an input's, or another output's, too",
        "name all outputs in the recipe's `outputs`",
        level="warning",
    )


def _free_output_names(model: Model) -> None:
    """Rename the weights that are outputs, so that the outputs can have their names."""
    graph = model.proto.graph
    taken, weights = Names(value_names(graph)), {t.name for t in graph.initializer}
    names = {o.name: taken.take(f"{o.name}_value") for o in graph.output if o.name in weights}
    if not names:
        return
    rename(model, names)
    own = {inner: name for name, inner in names.items()}
    for value in graph.output:
        if value.name in own:
            inner = value.name
            value.name = own.pop(inner)
            node = helper.make_node("Identity", [inner], [value.name], name=f"output_{value.name}")
            graph.node.append(node)


def _own_outputs(graph: GraphProto, kept: set[str]) -> dict[str, str]:
    """Give every output a node of its own: an output that is an input is an invalid file.

    Returns the names that outputs have now instead of what they had.
    """
    taken = Names(value_names(graph) | kept)
    made = {name for node in graph.node for name in node.output}
    seen: set[str] = set()
    renamed: dict[str, str] = {}
    for value in graph.output:
        if value.name in made and value.name not in seen:
            seen.add(value.name)
            continue
        source = value.name
        value.name = renamed[source] = taken.take(f"{source}_output")
        node = helper.make_node("Identity", [source], [value.name], name=f"output_{value.name}")
        graph.node.append(node)
    return renamed


def _name_outputs(model: Model, specs: Sequence[TensorSpec], names: Sequence[str] | None) -> None:
    graph = model.proto.graph
    if names is None:
        return
    mapping = {o.name: n for o, n in zip(graph.output, names, strict=True) if o.name != n}
    taken = Names(value_names(graph) | set(names) | {s.name for s in specs})
    for name in set(names) & (value_names(graph) - set(mapping)):
        if name not in {o.name for o in graph.output}:
            mapping[name] = taken.take(name)
    rename(model, mapping)


def _settle_inputs(model: Model, specs: Sequence[TensorSpec]) -> None:
    graph = model.proto.graph
    have = {i.name: i for i in graph.input}
    baked = []
    settled = []
    for spec in specs:
        dtype = elem_type(spec.dtype)
        if spec.name in have:
            old = port(have[spec.name])
            dtype = old.dtype
            if old.shape is not None and len(old.shape) != len(spec.shape):
                raise StepError(
                    Diagnostic(
                        "inputs-mismatch",
                        f"input `{spec.name}` has {len(old.shape)} axes in the graph, "
                        f"{len(spec.shape)} in the recipe",
                    )
                )
            baked += [
                f"axis `{want}` of input `{spec.name}` is fixed at {got}"
                for want, got in zip(spec.shape, old.shape or (), strict=False)
                if isinstance(want, str) and isinstance(got, int)
            ]
        settled.append(helper.make_tensor_value_info(spec.name, dtype, list(spec.shape)))
    if baked:
        raise baked_axis("; ".join(baked) + " in the exported graph")
    extra = [n for n in have if n not in {s.name for s in specs}]
    if extra:
        raise StepError(Diagnostic("inputs-mismatch", f"the graph has inputs that the recipe lacks: {extra}"))
    del graph.input[:]
    graph.input.extend(settled)


def baked_axis(message: str) -> StepError:
    hint = (
        "the model's code depends on this size: look for Python loops over it, int(x.shape[i]), "
        "or a tensor made at the traced size"
    )
    return StepError(Diagnostic("baked-axis", message, hint))


def _forget_traced_output_sizes(model: Model, specs: Sequence[TensorSpec]) -> None:
    """Keep of the outputs' dims what the recipe names, and what inference can prove.

    Exporters write the traced size into dims that do vary; running is right and reading is not.
    """
    axes = {d for s in specs for d in s.shape if isinstance(d, str)}
    for value in model.proto.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not axes or (dim.dim_param in axes and dim.dim_param):
                continue
            dim.Clear()
    infer_outputs(model)


def unused_inputs(graph: GraphProto) -> tuple[Diagnostic, ...]:
    """``unused-input`` for each input that no output depends on."""
    needed = {o.name for o in graph.output}
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= reads(node)
    return tuple(
        Diagnostic(
            "unused-input",
            f"input `{i.name}` does not influence any output; it stays in the interface",
            "remove it from the recipe if callers need not pass it",
            level="warning",
        )
        for i in graph.input
        if i.name not in needed
    )


# ---- after a transformation --------------------------------------------------------------------


def same_interface(before: Model, after: Model) -> str | None:
    """None if names, order, types and fixed and named axes are the same, else what differs."""
    for kind, old, new in (
        ("inputs", inputs(before), inputs(after)),
        ("outputs", outputs(before), outputs(after)),
    ):
        if [p.name for p in old] != [p.name for p in new]:
            return f"{kind} {[p.name for p in old]} became {[p.name for p in new]}"
        for a, b in zip(old, new, strict=True):
            if a.dtype != b.dtype:
                return f"{a.name} changed its type"
            if a.shape is None or (kind == "outputs" and b.shape is not None):
                continue
            if a.shape != b.shape:
                return f"{a.name} has shape {b.shape}, not {a.shape}"
    return None


def restore_axes(before: Model, after: Model) -> None:
    """Give the axes their names back where shape inference called them ``unk__0``.

    What it learned of an output, a size in place of a name, stays.
    """
    for old, new in (
        (before.proto.graph.input, after.proto.graph.input),
        (before.proto.graph.output, after.proto.graph.output),
    ):
        known = {value.name: value.type.tensor_type.shape.dim for value in old}
        for value in new:
            dims, names = value.type.tensor_type.shape.dim, known.get(value.name, ())
            if len(dims) != len(names):
                continue
            for dim, name in zip(dims, names, strict=True):
                if dim.dim_param != name.dim_param and dim.dim_param.startswith(INFERRED_AXIS):
                    dim.CopyFrom(name)


def set_initializers_as_inputs(model: Model, listed: bool | Sequence[str]) -> None:
    """List the initializers among the inputs (ONNX's old way, so that callers can override), or not.

    Or those of these names, in their order.
    """
    graph = model.proto.graph
    own = {t.name: t for t in graph.initializer}
    kept = [i for i in graph.input if i.name not in own]
    names: Sequence[str] = (list(own) if listed else ()) if isinstance(listed, bool) else listed
    del graph.input[:]
    graph.input.extend(kept)
    for name in names:
        tensor = own[name]
        graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
