"""The pairs in a graph: what is read in int8, and what is left of the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import helper

from modelbuild.graph import files
from modelbuild.graph.quantization.insertion import quantize
from modelbuild.graph.quantization.points import Int8Options
from tests.graph.quantization.pairs import initializers, made, maker, model, named, ran, reference, scale_of

RNG = np.random.default_rng(3)
bases = pytest.mark.parametrize("base", ["fp32", "fp16"])


def values(*shape: int, scale: float = 1.0) -> np.ndarray:
    return RNG.normal(0, scale, shape).astype(np.float32)


def operators(found) -> list[str]:
    return [node.op_type for node in found.proto.graph.node]


def two_readers():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("MatMul", ["x", "v"], ["b"], "second"),
        helper.make_node("Relu", ["x"], ["c"], "third"),
    ]
    outputs = {"a": [2, 3], "b": [2, 5], "c": [2, 4]}
    return model(nodes, {"x": [2, 4]}, outputs, {"w": values(4, 3), "v": values(4, 5)})


@bases
def test_one_pair_serves_all_int8_readers_and_others_read_the_float(base):
    found, _ = made(two_readers(), {"x": values(2, 4)}, Int8Options(base=base))
    assert operators(found).count("QuantizeLinear") == 1
    assert named(found, "first").input[0] == named(found, "second").input[0]
    assert named(found, "third").input[0] == "x"


def test_a_bias_stays_float():
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")
    weights = {"w": values(6, 4, 3, 3), "b": values(6)}
    graph = model([node], {"x": [1, 4, 8, 8]}, {"y": [1, 6, 6, 6]}, weights)
    found, _ = made(graph, {"x": values(1, 4, 8, 8)})
    assert named(found, "conv").input[2] == "b"
    np.testing.assert_array_equal(initializers(found)["b"], weights["b"])


def test_a_shared_weight_is_in_the_file_once_and_not_in_float():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("MatMul", ["a", "w"], ["y"], "second"),
    ]
    graph = model(nodes, {"x": [2, 4]}, {"y": [2, 4]}, {"w": values(4, 4)})
    found, _ = made(graph, {"x": values(2, 4)})
    assert [n for n, a in initializers(found).items() if a.ndim == 2] == ["w_int8"]
    assert operators(found).count("DequantizeLinear") == 3


def test_a_weight_with_two_channel_axes_is_there_in_both():
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], "rows", transB=1),
        helper.make_node("Gemm", ["x", "w"], ["b"], "columns"),
    ]
    graph = model(nodes, {"x": [2, 4]}, {"a": [2, 4], "b": [2, 4]}, {"w": values(4, 4)})
    found, _ = made(graph, {"x": values(2, 4)})
    assert [n for n, a in initializers(found).items() if a.ndim == 2] == ["w_int8", "w_int8_1"]
    for name, axis in (("rows", 0), ("columns", 1)):
        assert maker(found, named(found, name).input[1]).attribute[0].i == axis


def test_a_weight_that_an_embedding_reads_too_stays_float_for_it():
    nodes = [
        helper.make_node("Gather", ["w", "i"], ["e"], "embedding"),
        helper.make_node("Gemm", ["e", "w"], ["y"], "head", transB=1),
    ]
    weights = {"w": values(9, 4), "i": np.array([3, 1])}
    graph = model(nodes, {"unused": [1]}, {"y": [2, 9]}, weights)
    found, _ = made(graph, {"unused": values(1)})
    assert named(found, "embedding").input[0] == "w"
    np.testing.assert_array_equal(initializers(found)["w"], weights["w"])
    assert initializers(found)["w_int8"].dtype == np.int8


def test_a_weight_that_a_branch_reads_too_stays_float_for_it():
    def branch(op: str):
        inner = helper.make_node(op, ["w"], [op], f"in_{op}")
        return helper.make_graph([inner], op, [], [helper.make_tensor_value_info(op, 1, [4, 3])])

    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
        helper.make_node("If", ["flag"], ["z"], then_branch=branch("Neg"), else_branch=branch("Abs")),
    ]
    weights = {"w": values(4, 3), "flag": np.array(True)}
    graph = model(nodes, {"x": [2, 4]}, {"y": [2, 3], "z": [4, 3]}, weights)
    found, _ = made(graph, {"x": values(2, 4)})
    np.testing.assert_array_equal(initializers(found)["w"], weights["w"])


def test_an_output_that_is_quantized_stays_what_it_was():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["hidden"], "first"),
        helper.make_node("MatMul", ["hidden", "v"], ["y"], "second"),
    ]
    outputs = {"hidden": [2, 4], "y": [2, 4]}
    graph = model(nodes, {"x": [2, 4]}, outputs, {"w": values(4, 4), "v": values(4, 4)})
    found, _ = made(graph, {"x": values(2, 4)}, kept=["first"])
    assert [v.name for v in found.proto.graph.output] == ["hidden", "y"]
    feeds = {"x": values(2, 4)}
    np.testing.assert_array_equal(reference(found, feeds)[0], reference(graph, feeds)[0])


def test_a_weight_that_a_Constant_holds_is_int8_in_the_file():
    value = helper.make_tensor("v", 1, [4, 3], values(4, 3).ravel())
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    found, _ = made(model(nodes, {"x": [2, 4]}, {"y": [2, 3]}), {"x": values(2, 4)})
    assert operators(found) == ["QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"]


def test_a_large_weight_is_rounded_when_it_is_written(tmp_path):
    weights = {"w": values(64, 64)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "product")]
    graph = model(nodes, {"x": [2, 64]}, {"y": [2, 64]}, weights)
    files.write(graph, tmp_path / "float.onnx")
    loads = []
    given = files.read(tmp_path / "float.onnx")
    on_disk = given.weights["w"]
    given.weights["w"] = replace(on_disk, load=lambda: (loads.append(1), on_disk.load())[1])
    found, _ = quantize(given, {"x": 3.0}, Int8Options(base="fp32"))
    before = len(loads)
    assert found.weights.keys() == {"w_int8"}
    files.write(found, tmp_path / "int8.onnx")
    assert len(loads) == before + 1
    written = files.read(tmp_path / "int8.onnx")
    held = initializers(written)
    np.testing.assert_allclose(held["w_int8"] * held["w_scale"], weights["w"], atol=held["w_scale"].max() / 2)


def test_nothing_to_quantize_changes_nothing():
    graph = two_readers()
    found, points = quantize(graph, {}, Int8Options(base="fp32"))
    assert points == ()
    assert found.proto == graph.proto


def test_an_opset_that_is_too_low_is_told():
    graph = two_readers()
    graph.proto.opset_import[0].version = 18
    with pytest.raises(ValueError, match="int8 with base fp16 needs opset 19"):
        quantize(graph, {"x": 1.0}, Int8Options())


def residual():
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["x", "c"], ["s"], "sum"),
        helper.make_node("Relu", ["s"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w2"], ["d"], "conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["r", "d"], ["t"], "sum2"),
        helper.make_node("Conv", ["t", "w3"], ["y"], "conv3"),
    ]
    weights = {"w1": values(4, 4, 3, 3), "w2": values(4, 4, 3, 3, scale=9), "w3": values(2, 4, 1, 1)}
    return model(nodes, {"x": [1, 4, 8, 8]}, {"y": [1, 2, 8, 8]}, weights)


@bases
def test_both_sides_of_a_residual_Add_have_the_scale_of_the_larger(base):
    found, points = made(residual(), {"x": values(1, 4, 8, 8)}, Int8Options(base=base))
    assert [point.node for point in points] == ["conv1", "sum", "conv2", "sum2", "conv3"]
    assert scale_of(found, "sum", 0) == scale_of(found, "sum", 1) == scale_of(found, "conv1", 0)
    assert scale_of(found, "sum2", 0) == scale_of(found, "conv2", 0) > scale_of(found, "sum", 0)


def test_without_its_neighbour_a_residual_Add_has_no_pair():
    found, points = made(residual(), {"x": values(1, 4, 8, 8)}, kept=["conv3"])
    assert [point.node for point in points] == ["conv1", "sum", "conv2"]
    assert list(named(found, "sum2").input) == ["r", "d"]


@bases
def test_the_file_computes_what_onnx_says_of_it(base):
    feeds = {"x": values(1, 4, 8, 8)}
    found, _ = made(residual(), feeds, Int8Options(base=base))
    bound = 2e-2 if base == "fp16" else 1e-5
    for got, wanted in zip(ran(found, feeds), reference(found, feeds), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=bound, atol=bound * np.abs(wanted).max())
