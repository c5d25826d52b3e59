"""What an ONNX file is, from its structure."""

from __future__ import annotations

import contextlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from onnx import TensorProto

from modelbuild.base.errors import first_line
from modelbuild.graph import files, interface, shapes
from modelbuild.graph.files import Model
from modelbuild.graph.interface import GraphPort
from modelbuild.graph.naming import graphs
from modelbuild.inspection import int8
from modelbuild.inspection import nodes as listing
from modelbuild.inspection.common import Info, no_model
from modelbuild.inspection.precisions import dtype_name, halves, most_first, walk


def describe(path: Path, listed: bool = False) -> tuple[Info, list[Path]]:
    """What is told of the model, ``listed`` with every node, and the data files that hold weights of it."""
    with _refused(path):
        model = files.read(path)
        info = _told(_model(model, listed))
    places = {w.place[0] for w in model.weights.values() if w.place} - {path.resolve()}
    return info, sorted(places)


def interface_of(path: Path) -> Info:
    """What it takes and gives, and its opsets: no shape is inferred for it, and no node looked at."""
    with _refused(path):
        return _told(_interface(files.read(path)))


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Anything may come from bytes that are no model."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else first_line(error)
        raise no_model(f"{path} cannot be inspected: {reason}") from error


def _told(info: Info) -> Info:
    json.dumps(info)  # refuses bytes, which is how a name that is not UTF-8 comes
    return info


def _interface(model: Model) -> Info:
    proto = model.proto
    if not proto.opset_import or not proto.graph.output:
        raise ValueError("not an ONNX model")
    return {
        "opset": {o.domain or "ai.onnx": o.version for o in proto.opset_import},
        "inputs": [_port(p) for p in interface.inputs(model)],
        "outputs": [_port(p) for p in interface.outputs(model)],
    }


def _model(model: Model, listed: bool) -> Info:
    proto, ports = model.proto, _interface(model)
    nodes = tuple(walk(shapes.inferred(proto).graph))
    weights = _weights(model)
    shares = halves(nodes, weights)
    kept = {row["name"] for row in shares["kept_nodes"]}
    return {
        "kind": "onnx",
        "ir_version": proto.ir_version,
        "opset": ports["opset"],
        "producer": " ".join(t for t in (proto.producer_name, proto.producer_version) if t),
        "inputs": ports["inputs"],
        "outputs": ports["outputs"],
        "nodes": len(nodes),
        "operators": most_first(Counter(seen.op_type for seen in nodes)),
        "node_precisions": most_first(Counter(seen.dtype for seen in nodes)),
        **shares,
        "int8": int8.described(nodes, model),
        "weights": weights,
        **({"node_list": listing.rows(nodes, kept)} if listed else {}),
    }


def _port(port: GraphPort) -> Info:
    shape = None if port.shape is None else ["?" if d is None else d for d in port.shape]
    return {"name": port.name, "dtype": dtype_name(port.dtype), "shape": shape}


def _weights(model: Model) -> dict[str, Info]:
    """Tensors and bytes per type, wherever they lie; the largest type first."""
    found: dict[str, Info] = {}
    for graph in graphs(model.proto.graph):
        for tensor in graph.initializer:
            entry = found.setdefault(dtype_name(tensor.data_type), {"tensors": 0, "bytes": 0})
            entry["tensors"] += 1
            entry["bytes"] += _nbytes(model, tensor)
    return dict(sorted(found.items(), key=lambda item: -int(item[1]["bytes"])))


def _nbytes(model: Model, tensor: TensorProto) -> int:
    if tensor.data_location == TensorProto.EXTERNAL:
        return model.weights[tensor.name].nbytes
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    try:
        return int(math.prod(tensor.dims) * files.numpy_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError):  # a type that this onnx does not know
        return 0
