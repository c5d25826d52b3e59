"""What autocast leaves, a half input beside float32 weights, becomes a valid file of the same values."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from modelbuild.graph.autocast import with_one_type_per_node
from modelbuild.graph.files import Model
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated

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
    model = with_one_type_per_node(Model(proto))
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
    assert with_one_type_per_node(Model(proto)).proto == proto


class Under(torch.nn.Module):
    """Modules under PyTorch's autocast, one after another."""

    def __init__(self, *inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = torch.nn.ModuleList(inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.float16):
            for module in self.inner:
                x = module(x)
                x = x[0] if isinstance(x, tuple) else x
        return x


def autocast(kind: str) -> tuple[Under, torch.Tensor]:
    torch.manual_seed(0)
    if kind in ("LSTM", "GRU", "RNN"):
        recurrent = getattr(torch.nn, kind)(8, 8, bidirectional=True)
        return Under(torch.nn.Linear(4, 8), recurrent).eval(), torch.randn(5, 2, 4)
    norm = torch.nn.BatchNorm2d(4) if kind == "batch" else torch.nn.InstanceNorm2d(4, affine=True)
    return Under(torch.nn.Conv2d(3, 4, 3), norm).eval(), torch.randn(2, 3, 8, 8)


@pytest.mark.parametrize("opset", [13, 14, 17])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN", "batch", "instance"])
def test_what_autocast_exports_is_valid_and_computes_what_pytorch_does(kind: str, opset: int) -> None:
    module, x = autocast(kind)
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = module(x)
        torch.onnx.export(module, (x,), buffer, dynamo=False, opset_version=opset)
    model = with_one_type_per_node(Model(onnx.load_from_string(buffer.getvalue())))
    onnx.checker.check_model(model.proto, full_check=True)
    (found,) = session(simulated(model)).run(None, {model.proto.graph.input[0].name: x.numpy()})
    assert wanted.dtype == torch.float16
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-2, atol=3e-3)
