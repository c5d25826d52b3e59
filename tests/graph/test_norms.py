"""A normalisation of a half input with float32 weights becomes a valid file of the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelbuild.graph.files import Model
from modelbuild.graph.norms import with_norms_of_one_type
from modelbuild.graph.runtime import session

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def norm(op: str, weight_type: type[np.floating[Any]], shape: list[int]) -> onnx.ModelProto:
    """Half in, half out, with weights of a type."""
    values = np.linspace(0.5, 1.5, shape[1]).astype(weight_type)
    graph = helper.make_graph(
        [
            helper.make_node(op, ["x", "s", "b"], ["n"], "norm"),
            helper.make_node("Relu", ["n"], ["y"], "relu"),
        ],
        "g",
        [helper.make_tensor_value_info("x", HALF, shape)],
        [helper.make_tensor_value_info("y", HALF, shape)],
        [numpy_helper.from_array(values, "s"), numpy_helper.from_array(values - 1, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("op", "shape"), [("LayerNormalization", [2, 8]), ("InstanceNormalization", [2, 8, 5])]
)
def test_it_is_computed_in_float32_and_rounded(op: str, shape: list[int]) -> None:
    proto = norm(op, np.float32, shape)
    with pytest.raises(onnx.shape_inference.InferenceError):
        onnx.checker.check_model(proto, full_check=True)
    model = with_norms_of_one_type(Model(proto))
    onnx.checker.check_model(model.proto, full_check=True)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    (found,) = session(model).run(None, {"x": x})
    wide = x.astype(np.float64)
    axis = 1 if op == "LayerNormalization" else 2
    centred = wide - wide.mean(axis, keepdims=True)
    scale = np.linspace(0.5, 1.5, 8).reshape([1, 8] + [1] * (len(shape) - 2))
    wanted = centred / np.sqrt(wide.var(axis, keepdims=True) + 1e-5) * scale + scale - 1
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, np.maximum(wanted, 0), rtol=2e-3, atol=1e-3)


def test_one_type_is_left_alone() -> None:
    proto = norm("LayerNormalization", np.float16, [2, 8])
    assert with_norms_of_one_type(Model(proto)).proto == proto
