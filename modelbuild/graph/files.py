"""ONNX files whose weights stay on disk.

A model is read as its structure plus a table of weights that are mapped, not loaded: BERT-base is
half a megabyte of graph and 437 MB of weights, and nothing between the exporter and the published
file needs all of them in memory at once. The same road serves models above protobuf's 2 GiB.
Source of the field numbers: onnx/onnx.proto.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto

Array = npt.NDArray[np.generic]

# Smaller tensors (shapes, axes, scalars) stay in the structure, where shape inference needs them.
ON_DISK_FROM = 1024
# Above this a file gets its weights beside it; protobuf refuses messages of 2 GiB.
INLINE_LIMIT = 2**31 - 2**20
# Several values in a byte: numpy has no view of that, so these are never mapped.
PACKED = {
    TensorProto.UINT2, TensorProto.INT2, TensorProto.UINT4, TensorProto.INT4,
    TensorProto.FLOAT4E2M1,
}  # fmt: skip

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_RAW_DATA = 9


@dataclass(frozen=True)
class Weight:
    """An initializer's type and shape, and how to get its values when they are needed."""

    dtype: int  # TensorProto.DataType
    dims: tuple[int, ...]
    nbytes: int
    load: Callable[[], Array]  # a C-contiguous array of ``dims``; may be a read-only map
    place: tuple[Path, int] | None = None  # file and offset, where these very bytes are on disk
    release: Callable[[], None] = lambda: None  # give the memory of a map back; it stays usable


@dataclass
class Model:
    """``proto`` without its large weights, and ``weights``: initializer name -> where its values are.

    An initializer named in ``weights`` is an empty tensor in ``proto`` (marked EXTERNAL, so that no
    library tries to read it). Rename or drop it in both.
    """

    proto: onnx.ModelProto
    weights: dict[str, Weight] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """The version of the default domain."""
        return next((o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")), 0)

    def array(self, tensor: TensorProto) -> Array:
        """The values of one of this model's initializers, wherever they are."""
        if tensor.data_location == TensorProto.EXTERNAL:
            return self.weights[tensor.name].load()
        return onnx.numpy_helper.to_array(tensor)


def numpy_dtype(elem_type: int) -> np.dtype[np.generic]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))


def empty_initializer(name: str, dtype: int, dims: tuple[int, ...]) -> TensorProto:
    """The stand-in for a weight in ``Model.proto``."""
    tensor = TensorProto(name=name, data_type=dtype, dims=dims, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="weights")
    return tensor


def parse(data: bytes) -> onnx.ModelProto:
    """A serialised structure."""
    proto = onnx.ModelProto()
    proto.ParseFromString(data)
    return proto


def weight_of(array: Array, dtype: int) -> Weight:
    """A weight made in memory."""
    return Weight(dtype, tuple(array.shape), array.nbytes, lambda: array)


# ---- reading ---------------------------------------------------------------------------------


def read(path: Path) -> Model:
    """Map ``path`` and parse everything but its large weights.

    Raises:
        ValueError: not an ONNX model, or its weights are damaged or outside its folder.
        OSError: ``path`` itself cannot be read.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError(f"{path.name} is empty")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return _model(data, path)
    except ValueError:
        raise
    except Exception as error:  # protobuf's own, or a type that there is not
        raise ValueError(f"{path.name} is not an ONNX model: {error}") from None


def _model(data: mmap.mmap, path: Path) -> Model:
    view = memoryview(data)
    weights: dict[str, Weight] = {}
    shell = bytearray()
    graph = bytearray()
    for tag, start, body, end in _fields(view, 0, len(data)):
        if tag >> 3 != _MODEL_GRAPH:
            shell += view[start:end]
            continue
        for inner, istart, ibody, iend in _fields(view, body, end):
            if inner >> 3 != _GRAPH_INITIALIZER or iend - ibody <= ON_DISK_FROM:
                graph += view[istart:iend]
                continue
            tensor = _strip(view, data, ibody, iend, path, weights)
            graph += _header(_GRAPH_INITIALIZER, len(tensor)) + tensor
    proto = parse(bytes(shell))
    proto.graph.ParseFromString(bytes(graph))
    _attach_external(proto, path, weights)
    return Model(proto, weights)


def _strip(
    view: memoryview, data: mmap.mmap, start: int, end: int, path: Path, weights: dict[str, Weight]
) -> bytes:
    """A TensorProto's bytes without a large ``raw_data``, which goes into ``weights`` as a map."""
    kept = bytearray()
    raw: tuple[int, int] | None = None
    for tag, fstart, body, fend in _fields(view, start, end):
        if tag >> 3 == _TENSOR_RAW_DATA and fend - body > ON_DISK_FROM:
            raw = (body, fend - body)
        else:
            kept += view[fstart:fend]
    if raw is None:
        return bytes(view[start:end])
    tensor = TensorProto.FromString(bytes(kept))
    if tensor.data_type in PACKED:
        return bytes(view[start:end])
    weight = _mapped(data, tensor, path, *raw)
    weights[tensor.name] = weight
    return bytes(empty_initializer(tensor.name, weight.dtype, weight.dims).SerializeToString())


def _mapped(data: mmap.mmap, tensor: TensorProto, path: Path, offset: int, length: int) -> Weight:
    """The weight that lies at ``offset`` of ``path``, of which ``data`` is the map."""
    dtype, dims = tensor.data_type, tuple(tensor.dims)
    expected = math.prod(dims) * numpy_dtype(dtype).itemsize
    if length != expected or offset + length > len(data):
        raise ValueError(f"{path.name}: weight {tensor.name!r} has not the {expected} bytes of its shape")

    def load() -> Array:
        return np.frombuffer(data, np.uint8, length, offset).view(numpy_dtype(dtype)).reshape(dims)

    def release() -> None:
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            start = offset - offset % mmap.PAGESIZE
            data.madvise(mmap.MADV_DONTNEED, start, offset + length - start)

    return Weight(dtype, dims, length, load, (path.resolve(), offset), release)


def _attach_external(proto: onnx.ModelProto, path: Path, weights: dict[str, Weight]) -> None:
    """Map the data files that the model names beside itself.

    Only initializers of the main graph have an entry in ``weights``: tensors in node attributes,
    in the bodies of If, Loop and Scan and in functions are loaded.
    """
    maps: dict[Path, mmap.mmap] = {}
    stripped = set(weights)
    for tensor, main in tensors(proto):
        if tensor.data_location != TensorProto.EXTERNAL or (main and tensor.name in stripped):
            continue
        entry = {e.key: e.value for e in tensor.external_data}
        location = entry.get("location", "")
        target = _inside(tensor, location, path)
        if target not in maps:
            try:
                with open(target, "rb") as file:
                    maps[target] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):  # ValueError: an empty file cannot be mapped
                raise ValueError(f"{path.name}: its weights in {location} cannot be read") from None
        offset = int(entry.get("offset", 0))
        length = int(entry.get("length", len(maps[target]) - offset))
        if main and tensor.data_type not in PACKED and length > ON_DISK_FROM:
            weight = _mapped(maps[target], tensor, target, offset, length)
            weights[tensor.name] = weight
            tensor.CopyFrom(empty_initializer(tensor.name, weight.dtype, weight.dims))
        else:
            tensor.raw_data = maps[target][offset : offset + length]
            del tensor.external_data[:]
            tensor.ClearField("data_location")


def _inside(tensor: TensorProto, location: str, path: Path) -> Path:
    """Where the values of a tensor lie that the model at ``path`` does not hold itself.

    Raises:
        ValueError: not in its folder.
    """
    if location and "\0" not in location:
        target = (path.parent / location).resolve()
        if target.is_relative_to(path.parent.resolve()):
            return target
    raise ValueError(f"{path.name}: weight {tensor.name!r} lies outside the model's folder")


def data_files(path: Path) -> list[Path]:
    """The files beside a model that it names: of weights, and of values in nodes, bodies and functions.

    Raises:
        ValueError: one lies outside the model's folder.
        Exception: whatever protobuf says of a file that is no model.
    """
    found = {}
    proto = onnx.load(str(path), load_external_data=False)
    for tensor, _ in tensors(proto):
        for entry in tensor.external_data:
            if entry.key == "location":
                _inside(tensor, entry.value, path)
                found[path.parent / entry.value] = True
    return list(found)


def tensors(proto: onnx.ModelProto) -> Iterator[tuple[TensorProto, bool]]:
    """Every tensor in a model, also the parts of sparse ones; whether it is the main graph's initializer."""
    yield from _of_graph(proto.graph, main=True)
    for function in proto.functions:
        yield from _of_attributes(function.attribute_proto)
        for node in function.node:
            yield from _of_attributes(node.attribute)


def _of_graph(graph: onnx.GraphProto, main: bool = False) -> Iterator[tuple[TensorProto, bool]]:
    for tensor in graph.initializer:
        yield tensor, main
    for sparse in graph.sparse_initializer:
        yield from ((sparse.values, False), (sparse.indices, False))
    for node in graph.node:
        yield from _of_attributes(node.attribute)


def _of_attributes(attributes: Iterable[onnx.AttributeProto]) -> Iterator[tuple[TensorProto, bool]]:
    for attribute in attributes:
        for tensor in (attribute.t, *attribute.tensors):
            yield tensor, False
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from ((sparse.values, False), (sparse.indices, False))
        for body in (attribute.g, *attribute.graphs):
            yield from _of_graph(body)


def _fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """``(tag, field start, payload start, field end)`` of each field of a protobuf message."""
    at = start
    while at < end:
        tag, body = _varint(view, at)
        match tag & 7:
            case 0:
                _, stop = _varint(view, body)
            case 1:
                stop = body + 8
            case 2:
                length, body = _varint(view, body)
                stop = body + length
            case 5:
                stop = body + 4
            case kind:
                raise ValueError(f"not an ONNX model (wire type {kind} at byte {at})")
        if stop > end:
            raise ValueError("the ONNX model is truncated")
        yield tag, at, body, stop
        at = stop


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise ValueError("the ONNX model is truncated")
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


# ---- writing ---------------------------------------------------------------------------------


def write(model: Model, path: Path, *, external: bool | None = None) -> None:
    """Write the model, one weight in memory at a time; equal models give equal bytes.

    ``external`` puts the weights into ``<path>.data``; by default only where the file would
    pass protobuf's limit.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    kept = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    if external is None:
        total = sum(w.nbytes for w in model.weights.values())
        external = total + proto.ByteSize() > INLINE_LIMIT
    if external:
        _write_external(proto, kept, model, path)
    else:
        _write_inline(proto, kept, model, path)


def _write_inline(proto: onnx.ModelProto, tensors: list[TensorProto], model: Model, path: Path) -> None:
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    shell = proto.SerializeToString(deterministic=True)
    heads: list[tuple[bytes, Weight | None]] = []
    size = len(graph)
    for tensor in tensors:
        weight = model.weights.get(tensor.name)
        if weight is None:
            body = tensor.SerializeToString(deterministic=True)
            head = _header(_GRAPH_INITIALIZER, len(body)) + body
            size += len(head)
        else:
            plain = TensorProto(name=tensor.name, data_type=weight.dtype, dims=weight.dims)
            body = plain.SerializeToString(deterministic=True)
            body += _header(_TENSOR_RAW_DATA, weight.nbytes)
            head = _header(_GRAPH_INITIALIZER, len(body) + weight.nbytes) + body
            size += len(head) + weight.nbytes
        heads.append((head, weight))
    with open(path, "wb") as file:
        file.write(shell + _header(_MODEL_GRAPH, size) + graph)
        for head, weight in heads:
            file.write(head)
            if weight is not None:
                _write_values(weight, file)


def _write_external(proto: onnx.ModelProto, tensors: list[TensorProto], model: Model, path: Path) -> None:
    data = path.with_name(path.name + ".data")
    with open(data, "wb") as file:
        for tensor in tensors:
            weight = model.weights.get(tensor.name)
            if weight is not None:
                file.write(b"\0" * (-file.tell() % 4096))  # so that runtimes can map each weight
                entry = {"location": data.name, "offset": file.tell(), "length": weight.nbytes}
                _write_values(weight, file)
                del tensor.external_data[:]
                for key, value in entry.items():
                    tensor.external_data.add(key=key, value=str(value))
            proto.graph.initializer.append(tensor)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _write_values(weight: Weight, file: BinaryIO) -> None:
    array = np.ascontiguousarray(weight.load())
    if array.nbytes != weight.nbytes:
        raise AssertionError(f"a weight of {weight.nbytes} bytes turned out as {array.nbytes}")
    file.write(array.reshape(-1).view(np.uint8).data)
    weight.release()


def _header(number: int, length: int) -> bytes:
    """The tag and the length of a length-delimited field."""
    return _encode(number << 3 | 2) + _encode(length)


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
