"""How much of a file is int8, what stays out of it, and what ONNX Runtime makes of it on this machine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from modelbuild.base.tensors import Sizes
from modelbuild.graph import files, interface
from modelbuild.graph.files import Array, Model
from modelbuild.graph.naming import graphs, label
from modelbuild.graph.quantization import kernels
from modelbuild.graph.quantization.points import OPERATORS
from modelbuild.inspection.common import Info
from modelbuild.inspection.precisions import SeenNode
from modelbuild.inspection.provenance import PUBLISHED

_WHOLE = (TensorProto.INT8, TensorProto.UINT8)
_INPUTS = 3
_LARGEST = 1 << 27  # elements of all inputs
# Sizes for axes that are open, where no manifest tells any: the first that a model takes.
_TRIED = (16, 64, 224)


def described(seen: Sequence[SeenNode], model: Model) -> Info | None:
    """Int8 nodes by operator, beside all of that operator that compute; weights, scales, and what stays out.

    None where no node is int8.
    """
    computing = [s for s in seen if s.computes is not None]
    whole = Counter(s.op_type for s in computing if s.is_int8)
    if not whole:
        return None
    every = Counter(s.op_type for s in computing)
    out = [s for s in computing if s.op_type in OPERATORS and not s.is_int8]
    return {
        "nodes": {op: {"int8": count, "all": every[op]} for op, count in sorted(whole.items())},
        "weights": _weights(model),
        "scales": _scales(model),
        "kept_nodes": [{"name": label(s.node), "op_type": s.op_type, "dtype": s.computes} for s in out],
    }


def _weights(model: Model) -> Info:
    """Elements of initializers that are int8 and dequantized, of these and those that are floats."""
    whole = floats = 0
    for graph in graphs(model.proto.graph):
        read = {n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"}
        scales = {n.input[1] for n in graph.node if n.op_type in ("DequantizeLinear", "QuantizeLinear")}
        for tensor in graph.initializer:
            if tensor.data_type in _WHOLE and tensor.name in read:
                whole += math.prod(tensor.dims)
            elif _is_float(tensor.data_type) and tensor.name not in scales:
                floats += math.prod(tensor.dims)
    return {"int8": whole, "all": whole + floats, "share": whole / (whole + floats) if whole else 0.0}


def _is_float(elem_type: int) -> bool:
    return elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def _scales(model: Model) -> Info:
    """Of weights, how many tensors have a scale for each channel, and how many one; and of activations."""
    found = {"channel": 0, "tensor": 0, "activations": 0}
    for graph in graphs(model.proto.graph):
        weights = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "QuantizeLinear":
                found["activations"] += 1
            elif node.op_type == "DequantizeLinear" and node.input[0] in weights:
                scale = weights.get(node.input[1])
                several = scale is not None and math.prod(scale.dims) > 1
                if weights[node.input[0]].data_type in _WHOLE:
                    found["channel" if several else "tensor"] += 1
    return found


# ---- a run of it ---------------------------------------------------------------------------------


def tried(path: Path, provenance: Info | None) -> Info:
    """What ONNX Runtime's int8 kernels make of the file on random inputs: as ``kernels.measured``, with the
    ``sizes`` of its axes; or ``not_run``, why not."""
    model = files.read(path)
    reason = ""
    for sizes in _sizes(model, provenance):
        try:
            feeds = [_random(model, sizes, seed) for seed in range(_INPUTS)]
            return {**kernels.measured(path, feeds), "sizes": sizes, "inputs": _INPUTS}
        except kernels.NotRun as error:
            reason = str(error)
        except (KeyError, TypeError, ValueError) as error:
            return {"not_run": f"no inputs can be made up: {error}"}
    return {"not_run": reason}


def _sizes(model: Model, provenance: Info | None) -> Iterator[Sizes]:
    """Of the open axes: the smallest that the proof of the file ran at; else some that a model may take."""
    axes = dict.fromkeys(
        name for port in interface.inputs(model) for name in port.shape or () if isinstance(name, str)
    )
    known: Any = (provenance or {}).get("parity") if (provenance or {}).get("status") == PUBLISHED else None
    for sizes in sorted((known or {}).get("shapes", ()), key=lambda row: math.prod(row.values())):
        if axes.keys() <= sizes.keys():
            yield {name: sizes[name] for name in axes}
            return
    if not axes:
        yield {}
        return
    first = next((d for port in interface.inputs(model) for d in (port.shape or ())[:1]), None)
    for size in _TRIED:
        yield {name: 2 if name == first else size for name in axes}


def _random(model: Model, sizes: Sizes, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    room = _LARGEST
    found = {}
    for port in interface.inputs(model):
        if port.shape is None or any(d is None for d in port.shape):
            raise ValueError(f"the shape of `{port.name}` is open")
        shape = [sizes[d] if isinstance(d, str) else int(d or 0) for d in port.shape]
        room -= math.prod(shape)
        if room < 0:
            raise ValueError("they are too large")
        dtype = files.numpy_dtype(port.dtype)
        whole = np.dtype(dtype).kind in "iub"  # of indices and masks, the values that every model takes
        found[port.name] = (rng.integers(0, 2, shape) if whole else rng.standard_normal(shape)).astype(dtype)
    return found
