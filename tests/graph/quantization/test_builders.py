"""TensorRT-RTX takes every kind of graph with int8 in it, and builds an engine of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from modelbuild.engines import kit, parsing
from modelbuild.graph import files
from modelbuild.graph.files import Model
from modelbuild.graph.quantization.points import Int8Options
from modelbuild.machine.isolate import in_child
from tests.engines.small import needs_rtx
from tests.graph.quantization.pairs import Arrays, made, model

RNG = np.random.default_rng(11)


def values(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype(np.float32)


def layer(
    op: str, shape: tuple[int, ...], weight: tuple[int, ...] | None, bias: int = 0, **attributes: object
):
    """One operator, its output of a shape that nobody says."""
    weights: Arrays = {} if weight is None else {"w": values(*weight)}
    if bias:
        weights["b"] = values(bias)
    second = {} if weight else {"z": (*shape[:-2], shape[-1], shape[-2])}
    named = ["x", *second, *weights]
    made_ = helper.make_node(op, named, ["y"], "layer", **attributes)
    rank = len(shape) if weight is None or len(weight) > 1 else len(shape) - 1
    return model([made_], {"x": shape, **second}, {"y": [None] * rank}, weights)


def first_factor():
    node = helper.make_node("MatMul", ["w", "x"], ["y"], "layer")
    return model([node], {"x": [2, 16, 8]}, {"y": [2, 24, 8]}, {"w": values(24, 16)})


def attention():
    """Queries, keys and values of one input, their two products, and a way out."""
    nodes = [
        *(helper.make_node("MatMul", ["x", f"w_{n}"], [n], f"to_{n}") for n in "qkv"),
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["p"]),
        helper.make_node("MatMul", ["p", "v"], ["mixed"], "mix"),
        helper.make_node("Gemm", ["flat", "w_out", "b"], ["y"], "out", transB=1),
    ]
    nodes.insert(-1, helper.make_node("Reshape", ["mixed", "shape"], ["flat"]))
    weights = {f"w_{n}": values(16, 16) for n in "qkv"}
    weights |= {"w_out": values(8, 16), "b": values(8), "shape": np.array([-1, 16])}
    return model(nodes, {"x": [2, 6, 16]}, {"y": [12, 8]}, weights)


def residual(weight: str = "w2"):
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", weight, "b"], ["d"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["d", "x"], ["s"], "sum"),
        helper.make_node("Relu", ["s"], ["t"]),
        helper.make_node("Conv", ["t", "w3"], ["y"], "conv3"),
    ]
    weights = {"w1": values(8, 8, 3, 3), "w2": values(8, 8, 3, 3), "b": values(8), "w3": values(4, 8, 1, 1)}
    if weight != "w2":
        del weights["w2"]
    return model(nodes, {"x": [1, 8, 8, 8]}, {"y": [1, 4, 8, 8]}, weights)


def two_axes():
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], "rows", transB=1),
        helper.make_node("Gemm", ["a", "w"], ["y"], "columns"),
    ]
    return model(nodes, {"x": [4, 16]}, {"y": [4, 16]}, {"w": values(16, 16)})


IMAGE = (1, 8, 8, 8)
KINDS = {
    "conv": layer("Conv", IMAGE, (16, 8, 3, 3), 16),
    "conv in groups": layer("Conv", IMAGE, (16, 4, 3, 3), group=2),
    "depthwise conv": layer("Conv", IMAGE, (8, 1, 3, 3), 8, group=8),
    "conv1d": layer("Conv", (1, 8, 8), (16, 8, 3)),
    "conv3d": layer("Conv", (1, 8, 8, 8, 8), (16, 8, 3, 3, 3)),
    "conv of a computed weight": layer("Conv", (4, 4, 3, 3), None),
    "transposed": layer("ConvTranspose", IMAGE, (8, 16, 3, 3), 16, strides=[2, 2]),
    "transposed in groups": layer("ConvTranspose", IMAGE, (8, 4, 3, 3), group=2),
    "depthwise transposed": layer("ConvTranspose", IMAGE, (8, 1, 3, 3), group=8),
    "gemm": layer("Gemm", (4, 16), (16, 24), 24),
    "gemm turned": layer("Gemm", (4, 16), (24, 16), 24, transB=1, alpha=0.5),
    "linear": layer("MatMul", (2, 4, 16), (16, 24)),
    "stack of matrices": layer("MatMul", (2, 4, 16), (2, 16, 24)),
    "matrix and vector": layer("MatMul", (4, 16), (16,)),
    "constant first factor": first_factor(),
    "product of activations": layer("MatMul", (2, 4, 16), None),
    "attention": attention(),
    "residual": residual(),
    "shared weight": residual("w1"),
    "weight with two channel axes": two_axes(),
}  # fmt: skip


def feeds(given: Model) -> Arrays:
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in given.proto.graph.input}
    return {name: values(*shape) for name, shape in shapes.items()}


def built(path: Path) -> int:
    """How many bytes TensorRT-RTX's engine of a file has."""
    rtx = kit.load("tensorrt-rtx")
    builder, network, parser = parsing.parse(rtx, path)
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    assert plan is not None, rtx.errors
    del parser
    return int(plan.nbytes)


@needs_rtx
@pytest.mark.parametrize("base", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_engine_is_built_of(kind: str, base: str, tmp_path: Path) -> None:
    found, points = made(KINDS[kind], feeds(KINDS[kind]), Int8Options(base=base))
    assert points
    files.write(found, tmp_path / "model.onnx")
    ended = in_child(lambda: built(tmp_path / "model.onnx"))
    assert ended.ok, ended
    assert ended.value > 0
