"""A graph with a bit of everything, and what tests of inspected files share."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

# Two precisions, a graph inside a node, an operator of nobody, an axis without a name.
GRAPH = """
<ir_version: 10, opset_import: ["" : 18, "my" : 1], producer_name: "hand", producer_version: "7">
g (float[batch, 64] x, bool flag) => (float16[batch, 64] y, float[?, 64] z) {
    h = MatMul(x, weight)
    z = If (flag) <
        then_branch = a () => (float[batch, 64] t) { t = Relu(h) },
        else_branch = b () => (float[batch, 64] e) { e = my.Twist(h) }
    >
    c = Cast <to = 10> (h)
    y = Add(c, bias)
}
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    proto = onnx.parser.parse_model(GRAPH)
    weight = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(64, np.float16), "bias"))
    return proto


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def put(content: bytes, name: str = "m.onnx") -> Any:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write
