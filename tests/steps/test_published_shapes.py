"""Every step that writes a file which users get says in it what the tensors inside are."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from modelbuild.steps.half import Half
from modelbuild.steps.simplify import Simplify
from modelbuild.steps.static import Static

NET = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[batch, 4] x) => (float[batch, 2] y)
<float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, int64[2] to = {-1, 3},
 float[3, 2] v = {1, 2, 3, 4, 5, 6}>
{ h = MatMul(x, w)  r = Reshape(h, to)  y = MatMul(r, v) }"""
HALF = Half(
    filename="m.onnx", dtype="fp16", keep_io_types=True, disable_shape_infer=False, op_block_list=None,
    node_block_list=(), min_positive_val=None, max_finite_val=None, keep_initializers_as_inputs=True,
)  # fmt: skip
STEPS = {
    "simplified": (
        Simplify(filename="m.onnx", enabled=False, constant_folding=True, keep_initializers_as_inputs=True),
        {"h": ["batch", 3], "r": [None, 3]},
    ),
    "half": (
        HALF,
        {"x_fp16": ["batch", 4], "h": ["batch", 3], "r": [None, 3], "y_fp16": [None, 2]},
    ),
    "static": (
        Static(
            filename="m.onnx",
            sizes={"batch": 5},
            simplify=False,
            constant_folding=True,
            keep_initializers_as_inputs=True,
        ),
        {"h": [5, 3], "r": [5, 3]},
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_published_file_says_what_its_tensors_are(name: str, tmp_path: Path) -> None:
    """Weights among the inputs, whose values a caller may change, are still known as the file has them."""
    step, expected = STEPS[name]
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    onnx.save(onnx.parser.parse_model(NET), str(tmp_path / "in/m.onnx"))
    step.run({"model": tmp_path / "in"}, tmp_path / "out")
    model = onnx.load(str(tmp_path / "out/m.onnx"))
    onnx.checker.check_model(model, full_check=True)
    found = {
        v.name: [d.dim_value or d.dim_param or None for d in v.type.tensor_type.shape.dim]
        for v in model.graph.value_info
    }
    assert found == expected
    types = {v.type.tensor_type.elem_type for v in model.graph.value_info}
    assert types == {onnx.TensorProto.FLOAT16 if name == "half" else onnx.TensorProto.FLOAT}
