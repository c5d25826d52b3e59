"""What is told of an ONNX file, and that its weights stay where they are."""

from __future__ import annotations

import time
from pathlib import Path

import onnx
import onnx.parser
import pytest

from modelbuild.inspection import inspect_file, render
from modelbuild.machine.isolate import in_child
from tests.inspection.conftest import digest

# ---- ONNX ------------------------------------------------------------------------------------


def test_an_onnx_file_is_told_from_its_structure(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))

    assert inspect_file(path) == {
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": digest(path),
        "kind": "onnx",
        "ir_version": 10,
        "opset": {"ai.onnx": 18, "my": 1},
        "producer": "hand 7",
        "inputs": [
            {"name": "x", "dtype": "float32", "shape": ["batch", 64]},
            {"name": "flag", "dtype": "bool", "shape": []},
        ],
        "outputs": [
            {"name": "y", "dtype": "float16", "shape": ["batch", 64]},
            {"name": "z", "dtype": "float32", "shape": ["?", 64]},
        ],
        "nodes": 6,
        "operators": {"Add": 1, "Cast": 1, "If": 1, "MatMul": 1, "Relu": 1, "my.Twist": 1},
        "node_precisions": {"float32": 4, "float16": 2},
        "int8": None,
        "half": {
            "nodes": {"half": 1, "all": 4, "share": 0.25},
            "weight_bytes": {"half": 128, "all": 16512, "share": 128 / 16512},
        },
        "kept_nodes": [
            {"name": "h", "op_type": "MatMul"},
            {"name": "t", "op_type": "Relu"},
            {"name": "e", "op_type": "my.Twist"},
        ],
        "casts": {"float32 -> float16": 1},
        "weights": {
            "float32": {"tensors": 1, "bytes": 64 * 64 * 4},
            "float16": {"tensors": 1, "bytes": 64 * 2},
        },
        "external_data": [],
        "provenance": None,
    }


def test_weights_beside_the_file_are_counted_and_named(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="m.onnx.data")
    data = tmp_path / "m.onnx.data"

    info = inspect_file(path)

    assert info["weights"]["float32"] == {"tensors": 1, "bytes": 64 * 64 * 4}
    assert info["external_data"] == [
        {"file": "m.onnx.data", "bytes": data.stat().st_size, "sha256": digest(data)}
    ]


def test_weights_are_not_loaded(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[n] x) => (float[n] y) { y = Add(x, w) }'
    )
    proto.graph.initializer.append(
        onnx.TensorProto(name="w", data_type=1, dims=[2**34], data_location="EXTERNAL")
    )
    for key, value in {"location": "w.data", "offset": "0", "length": str(2**36)}.items():
        proto.graph.initializer[0].external_data.add(key=key, value=value)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with open(tmp_path / "w.data", "wb") as file:
        file.truncate(2**36)  # 64 GiB of hole

    def run() -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("modelbuild.inspection.hash_file", _Size.of)
            return render(inspect_file(path))

    start = time.perf_counter()
    said = in_child(run).value

    assert "weights     float32: 64.0 GiB in 1 tensor" in said
    assert time.perf_counter() - start < 5


class _Size:
    """Stands for a hashed file: 64 GiB of hole take 40 s to hash."""

    def __init__(self, size: int) -> None:
        self.bytes, self.sha256 = size, "unhashed"

    @classmethod
    def of(cls, path: Path) -> _Size:
        return cls(path.stat().st_size)


def test_a_type_newer_than_this_onnx_keeps_its_number(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    )
    newer = onnx.TensorProto(name="w", data_type=99, dims=[2], raw_data=b"ab")
    proto.graph.initializer.append(newer)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())

    assert inspect_file(path)["weights"] == {"type 99": {"tensors": 1, "bytes": 2}}
