"""Scales, and what the base precision makes of a graph with pairs."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from modelbuild.graph import files
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.quantization.insertion import quantize
from modelbuild.graph.quantization.points import Input, Int8Options, Point, has_scale
from modelbuild.graph.quantization.scales import (
    activation_scales,
    fake_quantized,
    quantized,
    restored,
    scales_of,
    weight_scales,
)
from tests.graph.quantization.pairs import embedded, initializers, model, ran

RNG = np.random.default_rng(2)
bases = pytest.mark.parametrize("base", ["fp32", "fp16"])


def values(*shape: int, scale: float = 1.0) -> np.ndarray:
    return RNG.normal(0, scale, shape).astype(np.float32)


# ---- scales --------------------------------------------------------------------------------------


@given(st.floats(0, 2.0**127, width=32), st.sampled_from(["fp16", "fp32"]), st.sampled_from([63, 127]))
def test_a_scale_is_the_next_number_of_the_base_that_clips_nothing(threshold, base, levels):
    if not has_scale(threshold, base, levels):
        assert threshold / levels > (511.75 if base == "fp16" else 2e36)
        return
    scale = scales_of(threshold, base, levels)
    dtype = np.float16 if base == "fp16" else np.float32
    assert scale.dtype == np.float32
    assert dtype(scale) == scale  # nothing is lost
    assert np.isfinite(dtype(scale) * dtype(-128))
    if threshold == 0:
        assert scale == 1
        return
    assert float(scale) * levels >= threshold
    below = float(np.nextafter(dtype(scale), dtype(0)))
    least = 1e-7 if base == "fp16" else float(np.finfo(np.float32).tiny)
    assert below * levels < threshold or below < least


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0, 65000.0])
def test_what_has_no_scale_in_float16(wrong):
    assert not has_scale(wrong, "fp16")


def test_sides_of_Adds_that_share_a_tensor_have_one_scale():
    def add(name: str, *sides: str) -> Point:
        return Point(name, "Add", tuple(Input(i, side, None, False) for i, side in enumerate(sides)))

    product = Point("p", "MatMul", (Input(0, "e", None, False), Input(1, "w", 1, True)))
    found = activation_scales(
        [product, add("s", "a", "b"), add("t", "c", "d"), add("u", "b", "c")],
        {"a": 1.27, "b": 2.54, "c": 0.5, "d": 12.7, "e": 127.0},
        "fp32",
    )
    assert list(found) == ["e", "a", "b", "c", "d"]
    assert found["e"] == 1
    assert {float(found[n]) for n in "abcd"} == {float(scales_of(12.7, "fp32"))}


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("reduce_range", [False, True])
@bases
def test_a_weight_is_off_by_half_a_step_at_most(axis, reduce_range, base):
    array = values(5, 6, 7) * np.geomspace(1, 100, 7).astype(np.float32)
    array[2, 3, 4] = 0
    scales = weight_scales(array, axis, base, reduce_range)
    assert scales.shape == (() if axis is None else (array.shape[axis],))
    whole = quantized(array, scales, axis, reduce_range)
    assert np.abs(whole.astype(int)).max() == (63 if reduce_range else 127)
    steps = scales.reshape([-1 if i == axis else 1 for i in range(3)]) if axis is not None else scales
    back = fake_quantized(array, axis, base, reduce_range)
    np.testing.assert_array_equal(back, restored(whole, scales, axis))
    np.testing.assert_array_equal(back, whole * steps)
    assert (np.abs(back - array) <= steps / 2 * (1 + 1e-5)).all()


def test_a_channel_of_zeros_stays_one():
    array = values(3, 4)
    array[1] = 0
    assert weight_scales(array, 0, "fp16", False)[1] == 1
    assert not fake_quantized(array, 0, "fp16", False)[1].any()


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_weight_is_the_same_in_blocks(axis, monkeypatch):
    array = values(37, 41)
    whole = fake_quantized(array, axis, "fp16", False)
    for block in (1, 5, 64, 100):
        monkeypatch.setattr("modelbuild.graph.quantization.scales._BLOCK", block)
        np.testing.assert_array_equal(fake_quantized(array, axis, "fp16", False), whole)


# ---- float16 around it ---------------------------------------------------------------------------


def tower(opset: int):
    """Sizes from 1e-6 to 1e4, weights large enough to be rounded when they are written."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["t", "w2"], ["m"], "tiny"),
        helper.make_node("MatMul", ["m", "w3"], ["n"], "large"),
        helper.make_node("MatMul", ["n", "w3"], ["o"], "kept"),
        helper.make_node("Softmax", ["o"], ["y"]),
    ]
    weights = {"w1": values(16, 8, 3, 3), "b": values(16), "w2": values(16, 64, scale=1e-7)}
    weights["w3"] = values(64, 64) * np.geomspace(1e-6, 1, 64).astype(np.float32)
    graph = model(nodes, {"x": [1, 8, 4, 4]}, {"y": [1, 4, 4, 64]}, weights, opset)
    graph.proto.ir_version = 10
    return graph


RANGES = {"x": 4.0, "t": 30.0, "m": 1e-5, "n": 2e4}


@pytest.mark.parametrize("opset", range(19, 26))
@pytest.mark.parametrize("keep", [True, False])
def test_float16_leaves_every_scale_as_it_is_and_says_nothing_of_them(opset, keep):
    before, points = quantize(tower(opset), RANGES, Int8Options(), kept=["kept"])
    assert [p.node for p in points] == ["conv", "tiny", "large"]
    after, said = convert(before, HalfOptions(keep_io_types=keep))
    old, new = initializers(before), initializers(after)
    scales = [name for name in old if name.endswith("_scale")]
    assert len(scales) == 6
    for name in scales:
        assert new[name].dtype == np.float16
        np.testing.assert_array_equal(new[name].astype(np.float32), old[name])
    for name in ("w1_int8", "w2_int8", "w3_int8"):
        np.testing.assert_array_equal(new[name], old[name])
    assert new["w3"].dtype == new["b"].dtype == np.float16  # of the node that is kept, and a bias
    assert not any("scale" in d.message or "int8" in d.message for d in said)
    onnx.checker.check_model(embedded(after).proto, full_check=True)
    casts = [node for node in after.proto.graph.node if node.op_type == "Cast"]
    assert len(casts) == (2 if keep else 0)  # the model's input and its output
    (made,) = ran(embedded(after), {"x": values(1, 8, 4, 4).astype(np.float32 if keep else np.float16)})
    assert np.isfinite(made).all()


def test_a_node_that_float16_blocks_is_not_int8_and_gets_no_scale():
    """Its operands come in float32, as without int8."""
    before, _ = quantize(tower(19), RANGES, Int8Options(node_block_list=("large",)))
    after, _ = convert(before, HalfOptions(node_block_list=("large",)))
    types = {n.name: n for n in after.proto.graph.node}
    assert types["large"].input[1] == "w3"
    assert initializers(after)["w3"].dtype == np.float32


# ---- always the same -----------------------------------------------------------------------------

PROGRAM = """
import sys
from pathlib import Path
from modelbuild.graph import files
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.quantization.insertion import quantize
from modelbuild.graph.quantization.points import Int8Options
from tests.graph.quantization.test_base import RANGES
given = files.read(Path(sys.argv[1]))
found, _ = quantize(given, RANGES, Int8Options())
files.write(convert(found, HalfOptions())[0], Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_the_bytes_are_the_same_whatever_the_hash_seed(tmp_path):
    files.write(tower(19), tmp_path / "float.onnx")
    for seed in ("1", "2", "3"):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "float.onnx"), str(tmp_path / seed)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert len({(tmp_path / seed).read_bytes() for seed in "123"}) == 1
