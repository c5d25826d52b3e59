"""The step that converts, on files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from modelbuild.base.errors import StepError
from modelbuild.steps.half import Half

CONV = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[n, 1, 4, 4] x) => (float[n, 1, 3, 3] y)
<float[1, 1, 2, 2] w = {1, 2, 3, 3.4e38}>
{ y = Conv(x, w) }"""


def convert(folder: Path, text: str, **knobs: Any) -> tuple[onnx.ModelProto, list[tuple[str, str]]]:
    (folder / "fp32").mkdir()
    (folder / "out").mkdir()
    onnx.save(onnx.parser.parse_model(text), str(folder / "fp32/m.fp32.onnx"))
    half = {
        "filename": "m.onnx", "dtype": "bf16", "keep_io_types": True, "disable_shape_infer": False,
        "op_block_list": None, "node_block_list": (), "min_positive_val": None,
        "max_finite_val": None, "keep_initializers_as_inputs": False,
    }  # fmt: skip
    outcome = Half(**{**half, **knobs}).run({"model": folder / "fp32"}, folder / "out")
    said = [(d.code, d.level) for d in outcome.diagnostics]
    return onnx.load(str(folder / "out/m.onnx")), said


def weight(model: onnx.ModelProto) -> Any:
    return onnx.numpy_helper.to_array(model.graph.initializer[0]).astype(np.float64)


def test_bf16_raises_the_opset_that_its_operators_need_and_clamps_to_its_own_range(tmp_path: Path) -> None:
    model, said = convert(tmp_path, CONV)
    onnx.checker.check_model(model, full_check=True)
    assert said == [("opset-mismatch", "info"), ("value-clamped", "info")]
    assert model.opset_import[0].version == 22
    assert model.graph.initializer[0].data_type == onnx.TensorProto.BFLOAT16
    np.testing.assert_allclose(weight(model).ravel(), [1, 2, 3, 3.4e38], rtol=2**-7)


def test_fp16_keeps_the_opset_and_clamps_to_its_own_range(tmp_path: Path) -> None:
    model, said = convert(tmp_path, CONV, dtype="fp16")
    assert said == [("value-clamped", "warning")]
    assert model.opset_import[0].version == 18
    assert weight(model).ravel().tolist() == [1, 2, 3, 65504]


def test_an_operator_kept_in_fp32_leaves_the_opset_alone(tmp_path: Path) -> None:
    model, said = convert(tmp_path, CONV, op_block_list=("Conv",))
    assert said == []
    assert model.opset_import[0].version == 18
    assert model.graph.initializer[0].data_type == onnx.TensorProto.FLOAT


def test_weights_may_be_listed_as_inputs(tmp_path: Path) -> None:
    model, _ = convert(tmp_path, CONV, keep_initializers_as_inputs=True)
    assert [v.name for v in model.graph.input] == ["x", model.graph.initializer[0].name]
    assert model.graph.input[1].type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16


def test_a_graph_that_cannot_be_raised_is_not_written(tmp_path: Path) -> None:
    mixed = CONV.replace("{ y", "{ bad = Add(x, one)  y").replace("<float[1", "<int64[1] one = {1}, float[1")
    with pytest.raises(StepError) as caught:
        convert(tmp_path, mixed)
    assert caught.value.diagnostics[0].code == "opset-mismatch"
    assert not list((tmp_path / "out").iterdir())
