"""Sessions take weights from where they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from modelbuild.graph import files
from modelbuild.graph.files import Model
from modelbuild.graph.runtime import lacks_kernels, session
from modelbuild.machine.isolate import in_child

RNG = np.random.default_rng(0)
ARRAYS = {name: RNG.normal(size=(40, 40)).astype(np.float32) for name in ("a", "b")}
X = RNG.normal(size=(3, 40)).astype(np.float32)


def model(dtype: int = TensorProto.FLOAT) -> Model:
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    graph = helper.make_graph(
        nodes, "g", [value("x", dtype, ["n", 40])], [value("y", dtype, ["n", 40])],
        [files.empty_initializer(name, dtype, (40, 40)) for name in ARRAYS],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    numpy = files.numpy_dtype(dtype)
    return Model(proto, {n: files.weight_of(a.astype(numpy), dtype) for n, a in ARRAYS.items()})


WANTED = X @ ARRAYS["a"] @ ARRAYS["b"]


@pytest.mark.parametrize("prepack", [False, True])
@pytest.mark.parametrize("place", ["memory", "inline", "external", "two-folders"])
def test_a_model_runs_wherever_its_weights_are(place, prepack, tmp_path: Path):
    made = model()
    if place != "memory":
        files.write(made, tmp_path / "m.onnx", external=place == "external")
        made = files.read(tmp_path / "m.onnx")
    if place == "two-folders":
        (tmp_path / "other").mkdir()
        files.write(model(), tmp_path / "other" / "m.onnx")
        made.weights["b"] = files.read(tmp_path / "other" / "m.onnx").weights["b"]
    before = made.proto.SerializeToString(deterministic=True)
    (found,) = session(made, prepack=prepack).run(None, {"x": X})
    np.testing.assert_allclose(found, WANTED, rtol=1e-4, atol=1e-4)
    assert made.proto.SerializeToString(deterministic=True) == before


def test_a_session_outlives_the_arrays_that_it_was_made_of():
    made = session(model())
    junk = [RNG.normal(size=(40, 40)).astype(np.float32) for _ in range(50)]
    (found,) = made.run(None, {"x": X})
    np.testing.assert_allclose(found, WANTED, rtol=1e-4, atol=1e-4)
    assert len(junk) == 50


def test_half_weights_are_handed_over():
    (found,) = session(model(TensorProto.FLOAT16)).run(None, {"x": X.astype(np.float16)})
    np.testing.assert_allclose(found, WANTED, rtol=2e-2, atol=1e-1)


def test_bfloat16_weights_are_handed_over():
    made = model(TensorProto.BFLOAT16)
    nodes = [helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)]
    graph = helper.make_graph(
        nodes, "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [40, 40])],
        [made.proto.graph.initializer[0]],
    )  # fmt: skip
    made = Model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8),
        {"a": made.weights["a"]},
    )
    (found,) = session(made).run(None, {})
    np.testing.assert_array_equal(found, made.weights["a"].load().astype(np.float32))


def test_a_missing_kernel_is_told_from_a_graph_that_is_wrong():
    wrong = model()
    wrong.proto.graph.node[0].op_type = "NoSuchOperator"
    for made, lacks in ((model(TensorProto.BFLOAT16), True), (wrong, False)):
        ended = in_child(lambda made=made: session(made))  # type: ignore[misc]
        assert ended.error is not None
        assert lacks_kernels(ended.error) is lacks


def test_a_graph_that_does_not_load_says_why():
    made = model()
    made.proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(Exception, match="NoSuchOperator"):
        session(made)


def test_onnx_runtime_is_not_imported_by_reading_files():
    code = "import sys, modelbuild.graph.files; print('onnxruntime' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
