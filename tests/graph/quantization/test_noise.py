"""How noisy each int8 node is, held against ONNX's reference implementation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from onnx import helper

from modelbuild.graph.files import Model
from modelbuild.graph.quantization.insertion import quantize
from modelbuild.graph.quantization.noise import Noise, decibels, noise
from modelbuild.graph.quantization.points import Base, Int8Options
from tests.graph.quantization.pairs import Arrays, made, model, named, tensors, thresholds

RNG = np.random.default_rng(0)


def weight(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, np.float32)


def block(opset: int = 19) -> Model:
    """Two convolutions with a residual sum, and a layer on what they give."""
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["first"], "conv_a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["first"], ["seen"], "relu"),
        helper.make_node("Conv", ["seen", "b"], ["second"], "conv_b", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["second", "seen"], ["sum"], "add"),
        helper.make_node("Conv", ["sum", "c"], ["third"], "conv_c"),
        helper.make_node("Flatten", ["third"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "d"], ["y"], "gemm", transB=1),
    ]
    weights = {"a": weight(4, 3, 3, 3), "b": weight(4, 4, 3, 3), "c": weight(2, 4, 1, 1), "d": weight(5, 72)}
    return model(nodes, {"x": [2, 3, 6, 6]}, {"y": [2, 5]}, weights, opset)


def feeds(seed: int) -> Arrays:
    return {"x": np.random.default_rng(seed).standard_normal((2, 3, 6, 6), np.float32)}


def ratio(exact: np.ndarray, other: np.ndarray) -> float:
    exact, other = exact.astype(np.float64), other.astype(np.float64)
    return 10 * math.log10(np.square(exact).sum() / np.square(exact - other).sum())


def by_node(rows: tuple[Noise, ...]) -> Mapping[str, Noise]:
    return {row.node: row for row in rows}


def test_what_comes_together_at_a_node_is_what_the_reference_implementation_has_there() -> None:
    plain = block()
    whole, points = made(plain, feeds(0))

    rows = noise(plain, whole, [feeds(1)])

    exact, other = tensors(plain, feeds(1)), tensors(whole, feeds(1))
    assert {row.node for row in rows} == {p.node for p in points} == {
        "conv_a", "conv_b", "add", "conv_c", "gemm",
    }  # fmt: skip
    for row in rows:
        tensor = named(plain, row.node).output[0]
        assert row.tensor == tensor
        assert row.op_type == named(plain, row.node).op_type
        assert row.sqnr == pytest.approx(ratio(exact[tensor], other[tensor]), abs=0.05)
    assert [row.sqnr for row in rows] == sorted(row.sqnr for row in rows if row.sqnr is not None)


@pytest.mark.parametrize("node", ["conv_a", "conv_b", "conv_c", "gemm"])
def test_the_own_part_of_a_node_is_that_of_a_file_in_which_it_alone_is_int8(node: str) -> None:
    plain = block()
    options = Int8Options(base="fp32")
    ranges = thresholds(plain, options, feeds(0))
    whole, points = quantize(plain, ranges, options)
    others = [p.node for p in points if p.node not in (node, "add")]

    found = by_node(noise(plain, whole, [feeds(1)]))[node]

    # The two sides of the sum share a scale, so that it is taken of the whole file.
    ranges["second"] = ranges["seen"] = max(ranges["second"], ranges["seen"])
    alone, (point,) = quantize(plain, ranges, options, others)
    assert point.node == node
    tensor = named(plain, node).output[0]
    exact, other = tensors(plain, feeds(1)), tensors(alone, feeds(1))
    assert found.own == pytest.approx(ratio(exact[tensor], other[tensor]), abs=0.05)


def test_several_inputs_are_taken_together() -> None:
    plain = block()
    whole, _ = made(plain, feeds(0))
    many = [feeds(seed) for seed in (1, 2, 3)]

    found = by_node(noise(plain, whole, many))["conv_c"]

    exact, other = (
        np.concatenate([tensors(graph, one)["third"] for one in many]) for graph in (plain, whole)
    )
    assert found.sqnr == pytest.approx(ratio(exact, other), abs=0.05)


def test_in_half_precision_what_it_rounds_counts_too() -> None:
    plain = block()
    single = by_node(noise(plain, made(plain, feeds(0))[0], [feeds(1)]))
    half = by_node(noise(plain, made(plain, feeds(0), Int8Options(base="fp16"))[0], [feeds(1)]))

    assert half.keys() == single.keys()
    for name, row in half.items():
        assert row.sqnr == pytest.approx(single[name].sqnr, abs=0.5)
    assert half["conv_c"].sqnr != single["conv_c"].sqnr


@pytest.mark.parametrize("base", ["fp16", "fp32"])
def test_a_node_without_a_name_that_makes_the_output_is_found(base: Base) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    plain = model(nodes, {"x": [16, 64]}, {"y": [16, 32]}, {"w": weight(64, 32)})
    given = {"x": weight(16, 64)}

    (row,) = noise(plain, made(plain, given, Int8Options(base=base))[0], [given])

    assert (row.node, row.op_type) == ("y", "MatMul")
    assert row.sqnr is not None
    assert 30 < row.sqnr < 60
    assert row.own == pytest.approx(row.sqnr, abs=0.1)


def test_names_of_the_int8_graph_may_be_those_of_the_model() -> None:
    nodes = [helper.make_node("MatMul", ["int8/x", "w"], ["int8/y"], "int8/m")]
    plain = model(nodes, {"int8/x": [2, 8]}, {"int8/y": [2, 4]}, {"w": weight(8, 4)})
    given = {"int8/x": weight(2, 8)}

    (row,) = noise(plain, made(plain, given)[0], [given])

    assert row.node == "int8/m"


def test_a_node_whose_values_are_not_finite_is_left_out() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "first"),
        helper.make_node("Log", ["m"], ["log"], "log"),
        helper.make_node("MatMul", ["log", "v"], ["y"], "second"),
    ]
    weights = {"w": np.abs(weight(8, 4)), "v": weight(4, 4)}
    plain = model(nodes, {"x": [2, 8]}, {"y": [2, 4]}, weights)
    whole, points = made(plain, {"x": np.abs(weight(2, 8))})
    assert len(points) == 2

    (row,) = noise(plain, whole, [{"x": -np.abs(weight(2, 8))}])

    assert row.node == "first"


def test_weights_and_values_that_are_whole_numbers_make_no_noise() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "m")]
    plain = model(nodes, {"x": [1, 2]}, {"y": [1, 1]}, {"w": np.array([[127.0], [-3.0]], np.float32)})
    given = {"x": np.array([[127.0, 5.0]], np.float32)}

    (row,) = noise(plain, made(plain, given)[0], [given])

    assert (row.sqnr, row.own) == (None, None)


def test_a_file_with_nothing_in_int8_has_no_noise() -> None:
    assert noise(block(), block(), [feeds(0)]) == ()


def test_an_error_without_a_signal_is_as_far_off_as_can_be_told() -> None:
    assert decibels(0.0, 1.0) == -300
    assert decibels(1.0, 0.01) == pytest.approx(20)
