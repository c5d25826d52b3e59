"""What a file is: an ONNX model or an engine, its interface and size, and where it comes from.

Weights are hashed and never loaded, and no model runs: BERT-base takes 0.6 s, half of it hashing.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild import toolchain
from modelbuild.engines.running import describe_engine
from modelbuild.errors import Diagnostic, ModelbuildError, RecipeError, first_line
from modelbuild.store import hash_file

if TYPE_CHECKING:
    import onnx

    from modelbuild.graph.files import Model
    from modelbuild.graph.interface import Port

Info = dict[str, Any]

ENGINE_SUFFIXES = (".engine", ".plan")
MANIFEST = "manifest.json"

# How an engine of TensorRT-RTX begins: magic, 0, format, size of the file, version, magic, targets.
# Nowhere documented; measured with 1.7.1, and held against the installed builder by a test.
_HEADER = struct.Struct("<4sIQQ4B4sI")
_RTX_MAGIC = b"vtrt"
_RTX_FORMAT = 2
_RTX_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")  # by bit

_REBUILD = "build or download it again; .onnx, .engine and .plan files can be inspected"


def inspect_file(path: Path) -> Info:
    """Everything that can be told of ``path``, as JSON.

    Raises:
        RecipeError: ``recipe-invalid``: there is no such file, or it is no whole model.
    """
    if path.is_dir():
        raise _no_model(f"{path} is a folder", "name a file in it: an .onnx or an .engine")
    if not path.is_file():
        raise _no_model(f"there is no file {path}", "`modelbuild build` writes its files to build/")
    try:
        with open(path, "rb") as file:
            head = file.read(_HEADER.size)
        if not head:
            raise _no_model(f"{path} is empty", "build or download it again")
        if head.startswith(b"version https://git-lfs"):
            raise _no_model(f"{path} is a Git LFS pointer, not the file", "run `git lfs pull`")
        is_engine = path.suffix in ENGINE_SUFFIXES or _has_engine_magic(head)
        what = _engine(path, head) if is_engine else _onnx(path)
        hashed = hash_file(path)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise _no_model(message, "check its permissions") from error
    info = {"file": str(path), "bytes": hashed.bytes, "sha256": hashed.sha256, **what}
    info["provenance"] = _provenance(path, hashed.sha256)
    return info


def _no_model(message: str, hint: str) -> RecipeError:
    return RecipeError(Diagnostic("recipe-invalid", message, hint))


# ---- ONNX ------------------------------------------------------------------------------------


def _onnx(path: Path) -> Info:
    from modelbuild.graph import files

    try:
        info = _model(path, files.read(path))
        json.dumps(info)  # refuses bytes, which is how a name that is not UTF-8 comes
    except OSError:
        raise
    except Exception as error:  # anything may come from bytes that are no model
        reason = str(error) if isinstance(error, ValueError) else first_line(error)
        raise _no_model(f"{path} cannot be inspected: {reason}", _REBUILD) from error
    return info


def _model(path: Path, model: Model) -> Info:
    from modelbuild.graph import interface

    proto = model.proto
    if not proto.opset_import or not proto.graph.output:
        raise ValueError("not an ONNX model")
    operators: Counter[str] = Counter()
    precisions: Counter[str] = Counter()
    types = interface.inferred(proto).graph
    for node, dtype in _nodes(types, {}):
        domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
        operators[domain + node.op_type] += 1
        precisions[dtype] += 1
    return {
        "kind": "onnx",
        "ir_version": proto.ir_version,
        "opset": {o.domain or "ai.onnx": o.version for o in proto.opset_import},
        "producer": " ".join(t for t in (proto.producer_name, proto.producer_version) if t),
        "inputs": [_port(p) for p in interface.inputs(model)],
        "outputs": [_port(p) for p in interface.outputs(model)],
        "nodes": sum(operators.values()),
        "operators": _most_first(operators),
        "node_precisions": _most_first(precisions),
        "weights": _weights(model),
        "external_data": _external_data(path, model),
    }


def _port(port: Port) -> Info:
    shape = None if port.shape is None else ["?" if d is None else d for d in port.shape]
    return {"name": port.name, "dtype": _dtype(port.dtype), "shape": shape}


def _dtype(elem_type: int) -> str:
    """``float32`` for FLOAT; a type that this onnx does not know keeps its number."""
    from onnx import TensorProto

    try:
        name = str(TensorProto.DataType.Name(elem_type))
    except ValueError:
        return f"type {elem_type}"
    common = {"FLOAT": "float32", "DOUBLE": "float64", "UNDEFINED": "unknown"}
    return common.get(name, name.lower())


def _nodes(graph: onnx.GraphProto, outer: Mapping[str, int]) -> Iterator[tuple[onnx.NodeProto, str]]:
    """Every node, those of inner graphs too, and the type that it computes: its first output's."""
    from modelbuild.graph.interface import subgraphs

    types = dict(outer)
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    for tensor in graph.initializer:
        types[tensor.name] = tensor.data_type
    for node in graph.node:
        yield node, _dtype(next((types[o] for o in node.output if o in types), 0))
        for inner in subgraphs(node):
            yield from _nodes(inner, types)


def _weights(model: Model) -> Info:
    """Tensors and bytes per type, wherever they lie; the largest type first."""
    found: dict[str, Info] = {}
    for tensor in model.proto.graph.initializer:
        entry = found.setdefault(_dtype(tensor.data_type), {"tensors": 0, "bytes": 0})
        entry["tensors"] += 1
        entry["bytes"] += _nbytes(model, tensor)
    return dict(sorted(found.items(), key=lambda item: -int(item[1]["bytes"])))


def _nbytes(model: Model, tensor: onnx.TensorProto) -> int:
    from modelbuild.graph.files import numpy_dtype

    weight = model.weights.get(tensor.name)
    if weight:
        return weight.nbytes
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    try:
        return int(math.prod(tensor.dims) * numpy_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError):  # a type that this onnx does not know
        return 0


def _external_data(path: Path, model: Model) -> list[Info]:
    """The data files that hold weights of the model, with size and digest."""
    places = {w.place[0] for w in model.weights.values() if w.place} - {path.resolve()}
    folder = path.parent.resolve()
    rows = []
    for data in sorted(places):
        hashed = hash_file(data)
        name = str(data.relative_to(folder))
        rows.append({"file": name, "bytes": hashed.bytes, "sha256": hashed.sha256})
    return rows


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


# ---- engines ---------------------------------------------------------------------------------


def _engine(path: Path, head: bytes) -> Info:
    if not _has_engine_magic(head):
        raise _no_model(f"{path} cannot be inspected: not an engine", _REBUILD)
    info: Info = {"kind": "engine", "backend": "tensorrt"}
    if head.startswith(_RTX_MAGIC):
        info["backend"] = "tensorrt-rtx"
        info |= _rtx_header(path, head)
    return info | _contents(path, info["backend"])


def _has_engine_magic(head: bytes) -> bool:
    """``ftrt`` and ``ptrt`` are TensorRT's, ``vtrt`` is TensorRT-RTX's."""
    return head[1:4] == b"trt"


def _rtx_header(path: Path, head: bytes) -> Info:
    """Version and targets, which the header tells without a GPU."""
    size = path.stat().st_size
    if len(head) < _HEADER.size:
        raise _no_model(f"{path} cannot be inspected: the engine is truncated", _REBUILD)
    _, _, form, whole, *version, _, targets = _HEADER.unpack(head)
    if form != _RTX_FORMAT:
        return {}
    if size < whole:
        raise _no_model(f"{path} cannot be inspected: {size} bytes are there of {whole}", _REBUILD)
    return {
        "version": ".".join(map(str, version)),
        "targets": [name for bit, name in enumerate(_RTX_TARGETS) if targets >> bit & 1],
    }


def _contents(path: Path, backend: str) -> Info:
    """Inputs, outputs and profiles where the engine can be loaded; else why not."""
    missing = toolchain.missing_backend(backend)
    if missing is None and toolchain.gpu() is None:
        missing = "there is no GPU here"
    if missing is not None:
        return {"note": f"inputs, outputs and profiles need the engine loaded: {missing}"}
    try:
        return describe_engine(path, backend)
    except ModelbuildError as error:
        return {"note": f"inputs, outputs and profiles are unknown: {error}"}


# ---- provenance ------------------------------------------------------------------------------


def _provenance(path: Path, sha256: str) -> Info | None:
    """What the manifest beside the file says of it; None where there is no manifest."""
    beside = path.parent / MANIFEST
    if not beside.is_file():
        return None
    try:
        manifest = json.loads(beside.read_text())
        entry = next((a for a in manifest["artifacts"] if a["name"] == path.name), None)
        if entry is None:
            return {"manifest": str(beside), "status": f"not in {MANIFEST}"}
        # A file that stayed because its successor failed: the manifest keeps its entry inside.
        kept = entry.get("published")
        entry = kept or entry
        same = entry["sha256"] is not None and entry["sha256"].removeprefix("sha256:") == sha256
        return {
            "manifest": str(beside),
            "status": "as published" if same else "changed since it was published",
            "recipe": manifest.get("recipe"),
            "key": entry.get("key"),
            "parity": entry.get("parity"),
            "toolchain": None if kept else manifest.get("toolchain"),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {"manifest": str(beside), "status": f"{MANIFEST} is unreadable: {first_line(error)}"}


# ---- for a person ----------------------------------------------------------------------------


def render(info: Info) -> str:
    """``info`` as aligned plain text; characters that would steer a terminal are shown escaped."""
    rows: list[tuple[str, str]] = [("file", info["file"])]
    rows += _onnx_rows(info) if info["kind"] == "onnx" else _engine_rows(info)
    rows += [("sha256", info["sha256"])]
    for data in info.get("external_data", ()):
        rows += [("weights in", f"{data['file']}, {_size(data['bytes'])}"), ("", data["sha256"])]
    rows += _provenance_rows(info["provenance"])
    width = max(len(label) for label, _ in rows) + 2
    return "\n".join(f"{label:{width}}{_printable(text)}".rstrip() for label, text in rows)


def _onnx_rows(info: Info) -> list[tuple[str, str]]:
    opset = ", ".join(str(v) if d == "ai.onnx" else f"{d} {v}" for d, v in sorted(info["opset"].items()))
    made = f", by {info['producer']}" if info["producer"] else ""
    weights = [
        f"{dtype}: {_size(w['bytes'])} in {_count(w['tensors'], 'tensor')}"
        for dtype, w in info["weights"].items()
    ]
    return [
        ("kind", f"ONNX, opset {opset}, IR version {info['ir_version']}{made}"),
        ("size", _size(info["bytes"])),
        *_labelled("inputs", _port_lines(info["inputs"])),
        *_labelled("outputs", _port_lines(info["outputs"])),
        *_labelled("weights", weights or ["none"]),
        ("nodes", f"{info['nodes']}: {_counts(info['node_precisions'])}"),
        ("operators", _counts(info["operators"])),
    ]


def _engine_rows(info: Info) -> list[tuple[str, str]]:
    version = f" {info['version']}" if "version" in info else ""
    rows = [("kind", f"engine of {info['backend']}{version}"), ("size", _size(info["bytes"]))]
    if "targets" in info:
        rows.append(("targets", ", ".join(info["targets"])))
    if "note" in info:
        return [*rows, ("note", info["note"])]
    profiles = [
        f"{index}: {name} {_dims(sizes['min'])} {_dims(sizes['opt'])} {_dims(sizes['max'])}"
        for index, profile in enumerate(info["profiles"])
        for name, sizes in profile.items()
    ]
    return [
        *rows,
        *_labelled("inputs", _port_lines(info["inputs"])),
        *_labelled("outputs", _port_lines(info["outputs"])),
        *_labelled("profiles", profiles),
        ("layers", str(info["layers"])),
    ]


def _provenance_rows(provenance: Info | None) -> list[tuple[str, str]]:
    if provenance is None:
        return [("provenance", f"unknown: no {MANIFEST} beside it")]
    recipe = f", from {provenance['recipe']}" if provenance.get("recipe") else ""
    rows = [("provenance", f"{provenance['status']}{recipe}")]
    if provenance.get("key"):
        rows.append(("key", str(provenance["key"])))
    if "parity" in provenance:
        rows.append(("parity", _parity(provenance["parity"])))
    if isinstance(provenance.get("toolchain"), dict):
        said = ", ".join(f"{n} {v}" for n, v in provenance["toolchain"].items() if v)
        rows.append(("toolchain", said))
    return rows


def _parity(parity: object) -> str:
    if not isinstance(parity, dict):
        return "not measured"
    passed = "passed" if parity.get("passed") else "failed"
    said = f"{passed} ({parity.get('evidence')})"
    outputs = parity.get("outputs")
    if isinstance(outputs, dict):
        rooms = [o["headroom"] for o in outputs.values() if isinstance(o, dict) and "headroom" in o]
        if rooms:
            said += f", headroom {min(rooms):.3g}"
    return said


def _labelled(label: str, lines: list[str]) -> list[tuple[str, str]]:
    return [(label if i == 0 else "", line) for i, line in enumerate(lines)]


def _port_lines(ports: list[Info]) -> list[str]:
    name = max((len(p["name"]) for p in ports), default=0) + 2
    dtype = max((len(p["dtype"]) for p in ports), default=0) + 2
    return [f"{p['name']:{name}}{p['dtype']:{dtype}}{_dims(p['shape'])}" for p in ports]


def _dims(shape: list[int | str] | None) -> str:
    return "any shape" if shape is None else f"[{', '.join(map(str, shape))}]"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _size(nbytes: float) -> str:
    """Decimal units, as disks and ``ls --si`` count: 94.5 MB."""
    if nbytes < 1000:
        return f"{nbytes} bytes"
    for unit in ("kB", "MB"):
        nbytes /= 1000
        if nbytes < 999.95:
            return f"{nbytes:.1f} {unit}"
    return f"{nbytes / 1000:.1f} GB"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
