"""A graph in int8 computes what PyTorch's fake quantization says of its layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from modelbuild.graph.quantization.points import Int8Options
from tests.graph.quantization import pairs
from tests.graph.quantization.pairs import LEVELS, Arrays, made, model, ran

F = torch.nn.functional


@dataclass(frozen=True)
class Layer:
    """One operator of ONNX, and the function of PyTorch that it is."""

    op: str
    torch: Callable[..., torch.Tensor]
    inputs: dict[str, tuple[int, ...]]
    weight: tuple[int, ...] | None
    axis: int | None  # of the weight's channels
    bias: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    weight_first: bool = False

    def arrays(self) -> tuple[Arrays, Arrays]:
        """Inputs and weights; channels of the weight differ in size by up to a thousand."""
        rng = np.random.default_rng(5)
        feeds = {n: rng.normal(0, 1, shape).astype(np.float32) for n, shape in self.inputs.items()}
        weights: Arrays = {}
        if self.weight is not None:
            values = rng.normal(0, 1, self.weight)
            if self.axis is not None:
                sizes = np.geomspace(1e-2, 10, self.weight[self.axis])
                values = np.moveaxis(np.moveaxis(values, self.axis, -1) * sizes, -1, self.axis)
            weights["w"] = values.astype(np.float32)
        if self.bias is not None:
            weights["b"] = rng.normal(0, 1, self.bias).astype(np.float32)
        return feeds, weights

    def model(self, weights: Arrays, opset: int = 19):
        named = ["w", *self.inputs] if self.weight_first else [*self.inputs, *weights]
        node = helper.make_node(self.op, named, ["y"], "layer", **self.attributes)
        feeds, _ = self.arrays()
        made_ = self.exact(feeds, weights)
        return model([node], self.inputs, {"y": made_.shape}, weights, opset)

    def exact(self, feeds: Arrays, weights: Arrays) -> np.ndarray:
        return self.torch(**_tensors(feeds | weights)).numpy()

    def faked(self, feeds: Arrays, weights: Arrays, axis: int | None, most: int = 127) -> np.ndarray:
        """What PyTorch makes of quantized inputs; the bias is none."""
        given = {n: _fake(torch.from_numpy(a), -128, 127) for n, a in feeds.items()}
        for name, values in _tensors(weights).items():
            if name == "b":
                given[name] = values
            elif axis is None:
                given[name] = _fake(values, -most, most)
            else:
                others = [i for i in range(values.dim()) if i != axis]
                scales = values.abs().amax(others) / most
                zeros = torch.zeros(len(scales), dtype=torch.int32)
                given[name] = torch.fake_quantize_per_channel_affine(values, scales, zeros, axis, -most, most)
        return self.torch(**given).numpy()


def _tensors(arrays: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(a) for name, a in arrays.items()}


def _fake(values: torch.Tensor, least: int, most: int) -> torch.Tensor:
    return torch.fake_quantize_per_tensor_affine(values, float(values.abs().max()) / most, 0, least, most)


def conv(groups: int) -> Callable[..., torch.Tensor]:
    return lambda x, w, b=None: F.conv2d(x, w, b, padding=1, groups=groups)


def transposed(groups: int) -> Callable[..., torch.Tensor]:
    return lambda x, w, b=None: F.conv_transpose2d(x, w, b, stride=2, groups=groups)


PADS = {"pads": [1, 1, 1, 1]}
IMAGE = {"x": (2, 8, 6, 6)}
LAYERS = {
    "conv": Layer("Conv", conv(1), IMAGE, (12, 8, 3, 3), 0, 12, PADS),
    "grouped conv": Layer("Conv", conv(4), IMAGE, (12, 2, 3, 3), 0, 12, {**PADS, "group": 4}),
    "depthwise conv": Layer("Conv", conv(8), IMAGE, (8, 1, 3, 3), 0, None, {**PADS, "group": 8}),
    "transposed": Layer(
        "ConvTranspose", transposed(1), IMAGE, (8, 6, 3, 3), 1, 6, {"strides": [2, 2]}
    ),
    "grouped transposed": Layer(
        "ConvTranspose", transposed(2), IMAGE, (8, 3, 3, 3), 1, 6, {"strides": [2, 2], "group": 2}
    ),
    "linear": Layer("MatMul", lambda x, w: x @ w, {"x": (2, 5, 16)}, (16, 7), 1),
    "gemm": Layer("Gemm", lambda x, w, b=0: x @ w + b, {"x": (5, 16)}, (16, 7), 1, 7),
    "gemm turned": Layer(
        "Gemm", lambda x, w, b=None: F.linear(x, w, b), {"x": (5, 16)}, (7, 16), 0, 7, {"transB": 1}
    ),
    "rows": Layer("MatMul", lambda x, w: w @ x, {"x": (2, 16, 5)}, (7, 16), 0, weight_first=True),
    "attention": Layer("MatMul", lambda x, z: x @ z, {"x": (2, 3, 5, 8), "z": (2, 3, 8, 5)}, None, None),
    "stack": Layer("MatMul", lambda x, w: x @ w, {"x": (3, 5, 8)}, (3, 8, 7), None),
    "vector": Layer("MatMul", lambda x, w: x @ w, {"x": (5, 8)}, (8,), None),
}  # fmt: skip
layers = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


def reference(found, feeds: Arrays) -> list[np.ndarray]:
    """What ONNX itself says. It cannot do a ConvTranspose in groups; that is for ONNX Runtime, as it is."""
    if any(n.op_type == "ConvTranspose" and "group" in str(n.attribute) for n in found.proto.graph.node):
        return ran(found, feeds, "ORT_DISABLE_ALL")
    return pairs.reference(found, feeds)


def decibels(found: np.ndarray, exact: np.ndarray) -> float:
    return float(20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(found - exact)))


@layers
@pytest.mark.parametrize("reduce_range", [False, True], ids=["8 bits", "7 bits"])
def test_a_layer_computes_what_pytorch_says(layer: Layer, reduce_range: bool):
    feeds, weights = layer.arrays()
    options = Int8Options(base="fp32", reduce_range=reduce_range)
    wanted = layer.faked(feeds, weights, layer.axis, 63 if reduce_range else 127)
    found, points = made(layer.model(weights), feeds, options)
    assert [point.node for point in points] == ["layer"]
    old, _ = made(layer.model(weights, opset=13), feeds, options)  # ONNX's own is of 19 and later
    for got in (reference(found, feeds)[0], ran(found, feeds)[0], ran(old, feeds)[0]):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


@layers
def test_one_scale_for_a_weight_is_what_pytorch_says_of_it(layer: Layer):
    feeds, weights = layer.arrays()
    found, _ = made(layer.model(weights), feeds, Int8Options(base="fp32", per_channel=False))
    wanted = layer.faked(feeds, weights, None)
    np.testing.assert_allclose(
        reference(found, feeds)[0], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max()
    )


@layers
def test_with_float16_around_it_a_layer_is_as_exact_as_pytorch_says(layer: Layer):
    """Scales are rounded up by at most a thousandth, and so is the error by not much more."""
    feeds, weights = layer.arrays()
    found, _ = made(layer.model(weights), feeds, Int8Options())
    exact = layer.exact(feeds, weights)
    wanted = decibels(layer.faked(feeds, weights, layer.axis), exact)
    assert decibels(ran(found, feeds)[0], exact) > wanted - 2


@pytest.mark.parametrize("name", [name for name, layer in LAYERS.items() if layer.axis is not None])
def test_channels_of_very_different_sizes_are_each_as_exact_as_the_others(name: str):
    """The smallest channel is a thousandth of the largest: with one scale for all, nothing of it is left."""
    layer = replace(LAYERS[name], bias=None)
    feeds, weights = layer.arrays()
    channels = 1 if layer.op.startswith("Conv") else -2 if layer.weight_first else -1
    exact = np.moveaxis(layer.exact(feeds, weights), channels, 0)[0]
    bits = {}
    for per_channel in (True, False):
        options = Int8Options(base="fp32", per_channel=per_channel)
        found = ran(made(layer.model(weights), feeds, options)[0], feeds)[0]
        bits[per_channel] = decibels(np.moveaxis(found, channels, 0)[0], exact)
    assert bits[True] > 30
    assert bits[False] < 6


@layers
@pytest.mark.parametrize("base", ["fp32", "fp16"])
def test_a_layer_runs_at_every_level_of_onnx_runtime(layer: Layer, base):
    """With weights of 7 bits the integer kernels do not saturate, and give what the pairs say."""
    feeds, weights = layer.arrays()
    found, _ = made(layer.model(weights), feeds, Int8Options(base=base, reduce_range=True))
    wanted = reference(found, feeds)[0]
    for level in LEVELS:
        assert decibels(ran(found, feeds, level)[0], wanted) > (45 if base == "fp16" else 90), level
