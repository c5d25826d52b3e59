"""An ONNX file that others wrote: what no recipe can ask of it, and what is mended in silence.

Converters write what ONNX forbids or no longer has, and what runtimes take all the same: weights
among the inputs (IR version 3), two nodes of one name, nodes out of order, sparse weights.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import onnx.numpy_helper
from onnx import GraphProto, SparseTensorProto, TensorProto, TypeProto, ValueInfoProto

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.base.tensors import DTYPES, TensorSpec
from modelbuild.graph import interface
from modelbuild.graph.files import Array, Model
from modelbuild.graph.naming import Names, graphs, reads, set_nodes

_WEIGHTS_ARE_INPUTS = 3  # the last IR version in which every weight is listed among the inputs
_KINDS = {"sequence_type": "a sequence", "map_type": "a map", "optional_type": "an optional value",
          "sparse_tensor_type": "a sparse tensor", "opaque_type": "an opaque value"}  # fmt: skip


def check(model: Model, name: str, specs: Sequence[TensorSpec]) -> None:
    """Hold the file's inputs and outputs against what a recipe can say, and this one says.

    Raises:
        StepError: ``outputs-mismatch``, ``inputs-mismatch``, ``baked-axis``.
    """
    graph = model.proto.graph
    weights = {t.name for t in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    found = [d for value in graph.output if (d := _output(value, name)) is not None]
    lacking = [n for n in inputs if n not in {s.name for s in specs}]
    unknown = [s.name for s in specs if s.name not in inputs]
    if lacking or unknown:
        have, want = (", ".join(f"`{n}`" for n in names) for names in (inputs, [s.name for s in specs]))
        found.append(
            Diagnostic(
                "inputs-mismatch",
                f"{name} has the inputs {have or 'none'}; the recipe has {want}",
                "name the recipe's inputs as the file does",
            )
        )
    found += [d for s in specs if s.name in inputs and (d := _input(inputs[s.name], s, name)) is not None]
    if found:
        raise StepError(found)


def _output(value: ValueInfoProto, file: str) -> Diagnostic | None:
    kind = value.type.WhichOneof("value")
    if kind in _KINDS:
        said = f"output `{value.name}` of {file} is {_type(value.type)}, and only tensors can be compared"
        hint = "export the model without it (sklearn-onnx: `options={'zipmap': False}`), or cut the graph "
        return Diagnostic("outputs-mismatch", said, hint + "before the node that makes it")
    if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
        said = f"output `{value.name}` of {file} is bfloat16, which ONNX Runtime does not hand out on a CPU"
        return Diagnostic("outputs-mismatch", said, "end the graph in a Cast to float32")
    return None


def _input(value: ValueInfoProto, spec: TensorSpec, file: str) -> Diagnostic | None:
    where = f"input `{value.name}` of {file}"
    kind = value.type.WhichOneof("value")
    if kind in _KINDS:
        hint = "give the graph tensors as inputs, one for each element"
        return Diagnostic(
            "inputs-mismatch", f"{where} is {_type(value.type)}, and a recipe's inputs are tensors", hint
        )
    port = interface.port(value)
    if port.dtype and port.dtype != interface.elem_type(spec.dtype):
        dtype = _dtype(port.dtype)
        hint = f"write `dtype: {dtype}`" if dtype in DTYPES else "no recipe can fill such an input"
        return Diagnostic("inputs-mismatch", f"{where} is {dtype}, the recipe says {spec.dtype}", hint)
    if port.shape is None:
        return None
    if len(port.shape) != len(spec.shape):
        said = f"{where} has {len(port.shape)} axes, the recipe says {len(spec.shape)}"
        return Diagnostic("inputs-mismatch", said, f"the file has {_shape(port.shape)}")
    for have, want in zip(port.shape, spec.shape, strict=True):
        if isinstance(have, int) and have >= 0 and have != want:
            fixed = isinstance(want, str)
            said = f"{where} has a fixed {have} where the recipe has {f'axis `{want}`' if fixed else want}"
            hint = f"write {have}, or export the file again with this axis dynamic"
            return Diagnostic("baked-axis" if fixed else "inputs-mismatch", said, hint)
    return None


def _dtype(elem_type: int) -> str:
    """A type as recipes write it."""
    name = str(TensorProto.DataType.Name(elem_type)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _shape(dims: Sequence[int | str | None]) -> str:
    return f"[{', '.join('?' if d is None else str(d) for d in dims)}]"


def _type(kind: TypeProto) -> str:
    """``a sequence of maps``, in words."""
    which = kind.WhichOneof("value") or ""
    inner = getattr(kind, which).elem_type if which in ("sequence_type", "optional_type") else None
    of = inner.WhichOneof("value") if inner is not None else None
    return _KINDS.get(which, "no tensor") + (f" of {_KINDS[of].partition(' ')[2]}s" if of in _KINDS else "")


# ---- mending -----------------------------------------------------------------------------------


def mend(model: Model) -> None:
    """Make a valid graph of one that computes well: nothing that it computes changes."""
    proto = model.proto
    if proto.ir_version <= _WEIGHTS_ARE_INPUTS:
        proto.ir_version = _WEIGHTS_ARE_INPUTS + 1
    interface.set_initializers_as_inputs(model, False)
    names = Names(())
    for graph in graphs(proto.graph):
        _make_dense(graph)
        _sort(graph)
        for node in graph.node:
            if node.name:
                node.name = names.take(node.name)


def _make_dense(graph: GraphProto) -> None:
    graph.initializer.extend(_dense(tensor) for tensor in graph.sparse_initializer)
    del graph.sparse_initializer[:]


def _dense(tensor: SparseTensorProto) -> TensorProto:
    values = onnx.numpy_helper.to_array(tensor.values)
    where = onnx.numpy_helper.to_array(tensor.indices)
    full: Array = np.zeros(tuple(tensor.dims), values.dtype)
    if where.ndim == 1:
        full.reshape(-1)[where] = values
    else:
        full[tuple(where.T)] = values
    return onnx.numpy_helper.from_array(full, tensor.values.name)


def _sort(graph: GraphProto) -> None:
    """Put each node behind those that make what it reads, if that is not so already.

    A cycle is left as it is, for the checker to name.
    """
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    waits = [
        {makers[name] for name in reads(node) if name in makers} - {i} for i, node in enumerate(graph.node)
    ]
    if all(earlier < i for i, before in enumerate(waits) for earlier in before):
        return
    users: dict[int, list[int]] = {}
    for i, before in enumerate(waits):
        for earlier in before:
            users.setdefault(earlier, []).append(i)
    ready, order = [i for i, before in enumerate(waits) if not before], []
    while ready:
        order.append(heapq.heappop(ready))
        for user in users.get(order[-1], ()):
            waits[user].remove(order[-1])
            if not waits[user]:
                heapq.heappush(ready, user)
    if len(order) == len(waits):
        nodes = list(graph.node)
        set_nodes(graph, [nodes[i] for i in order])
