"""Which nodes are int8, and how their inputs are quantized."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from modelbuild.graph.quantization.points import Int8Options, Point, activations, points
from tests.graph.quantization.pairs import model

RNG = np.random.default_rng(7)
FP32 = Int8Options(base="fp32")


def weight(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype(np.float32)


def one(op: str, inputs: list[str], shapes: dict[str, list[int]], weights: dict, **attributes: object):
    node = helper.make_node(op, inputs, ["y"], "node", **attributes)
    return model([node], shapes, {"y": ["n"] * 2}, weights)


def inputs_of(found: tuple[Point, ...]) -> list[tuple[int, str, int | None, bool]]:
    (point,) = found
    return [(i.index, i.tensor, i.axis, i.constant) for i in point.inputs]


IMAGE = {"x": [1, 4, 8, 8]}


@pytest.mark.parametrize(
    ("op", "shape", "attributes", "axis"),
    [
        ("Conv", (6, 4, 3, 3), {}, 0),
        ("Conv", (6, 2, 3, 3), {"group": 2}, 0),
        ("Conv", (4, 1, 3, 3), {"group": 4}, 0),
        ("ConvTranspose", (4, 6, 3, 3), {}, 1),
        ("ConvTranspose", (4, 3, 3, 3), {"group": 2}, 1),
        ("MatMul", (8, 5), {}, 1),
        ("MatMul", (1, 4, 8, 5), {}, None),  # no integer kernel of ONNX Runtime knows its columns
        ("MatMul", (8,), {}, None),
    ],
)
def test_a_weight_has_a_scale_per_channel_of_the_result(op, shape, attributes, axis):
    found = points(one(op, ["x", "w"], IMAGE, {"w": weight(*shape)}, **attributes), FP32)
    assert inputs_of(found) == [(0, "x", None, False), (1, "w", axis, True)]


@pytest.mark.parametrize(("turned", "axis"), [(0, 1), (1, 0)])
def test_the_channels_of_a_gemm_follow_transB(turned, axis):
    graph = one("Gemm", ["x", "w", "b"], {"x": [4, 8]}, {"w": weight(8, 8), "b": weight(8)}, transB=turned)
    assert inputs_of(points(graph, FP32)) == [(0, "x", None, False), (1, "w", axis, True)]


@pytest.mark.parametrize(
    ("op", "attributes", "axis"), [("MatMul", {}, 0), ("Gemm", {}, 0), ("Gemm", {"transA": 1}, 1)]
)
def test_a_constant_first_factor_has_a_scale_per_row(op, attributes, axis):
    found = points(one(op, ["w", "x"], {"x": [8, 8]}, {"w": weight(8, 8)}, **attributes), FP32)
    assert inputs_of(found) == [(0, "w", axis, True), (1, "x", None, False)]


def test_without_per_channel_a_weight_has_one_scale():
    graph = one("Conv", ["x", "w"], IMAGE, {"w": weight(6, 4, 3, 3)})
    found = points(graph, Int8Options(per_channel=False))
    assert inputs_of(found) == [(0, "x", None, False), (1, "w", None, True)]


def test_both_factors_of_attention_are_activations():
    graph = one("MatMul", ["x", "z"], {"x": [2, 4, 8], "z": [2, 8, 4]}, {})
    assert inputs_of(points(graph, FP32)) == [(0, "x", None, False), (1, "z", None, False)]
    assert activations(graph, FP32) == ("x", "z")


def test_a_weight_that_a_Constant_holds_is_a_weight():
    value = helper.make_tensor("v", TensorProto.FLOAT, [8, 3], weight(8, 3).ravel())
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    found = points(model(nodes, {"x": [4, 8]}, {"y": [4, 3]}), FP32)
    assert inputs_of(found) == [(0, "x", None, False), (1, "w", 1, True)]
    assert found[0].node == "y"  # it has no name


# ---- what stays out ------------------------------------------------------------------------------


def chain(count: int = 3, **more: object):
    """x -> a -> b -> c, each by a matrix."""
    names = ["x", "a", "b", "c", "d"][: count + 1]
    nodes = [
        helper.make_node("MatMul", [taken, f"w{i}"], [names[i + 1]], f"to_{names[i + 1]}")
        for i, taken in enumerate(names[:-1])
    ]
    return model(
        nodes, {"x": [2, 4]}, {names[-1]: [2, 4]}, {f"w{i}": weight(4, 4) for i in range(count)}, **more
    )


def nodes_of(found: tuple[Point, ...]) -> list[str]:
    return [point.node for point in found]


def test_kept_and_blocked_nodes_stay_out_but_their_ranges_are_asked_for():
    options = Int8Options(node_block_list=("to_a",))
    assert nodes_of(points(chain(), options, kept=["to_c"])) == ["to_b"]
    assert activations(chain(), options) == ("x", "a", "b")


def test_operators_that_are_blocked_or_not_asked_for_stay_out_and_need_no_range():
    assert points(chain(), Int8Options(op_types=("Conv",))) == ()
    assert points(chain(), Int8Options(op_block_list=("MatMul",))) == ()
    assert activations(chain(), Int8Options(op_types=("Conv",))) == ()


@pytest.mark.parametrize("wrong", [None, float("nan"), float("inf"), -1.0])
def test_a_node_of_an_activation_without_a_range_stays_out(wrong):
    known = {"x": 1.0, "b": 2.0} | ({} if wrong is None else {"a": wrong})
    assert nodes_of(points(chain(), FP32, thresholds=known)) == ["to_a", "to_c"]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_node_of_a_weight_that_is_not_finite_stays_out(wrong):
    values = weight(4, 3)
    values[1, 2] = wrong
    assert points(one("MatMul", ["x", "w"], {"x": [2, 4]}, {"w": values}), FP32) == ()


def test_what_float16_cannot_hold_has_no_scale_in_it():
    known = {"x": 1.0, "a": 65000.0, "b": 64000.0}  # -128 would stand for more than 65504
    assert nodes_of(points(chain(), Int8Options(), thresholds=known)) == ["to_a", "to_c"]
    assert nodes_of(points(chain(), FP32, thresholds=known)) == ["to_a", "to_b", "to_c"]


def test_a_product_of_constants_stays_out():
    assert points(one("MatMul", ["v", "w"], {"x": [1]}, {"v": weight(2, 4), "w": weight(4, 3)}), FP32) == ()


def test_a_weight_that_callers_can_override_keeps_its_node_out():
    listed = one("MatMul", ["x", "w"], {"x": [2, 4], "w": [4, 3]}, {"w": weight(4, 3)})
    assert points(listed, FP32) == ()
    plain = one("MatMul", ["x", "w"], {"x": [2, 4]}, {"w": weight(4, 3)})
    assert points(plain, Int8Options(held=("w",))) == ()


def test_other_types_stay_out():
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "node")
    graph = model([node], {"x": [2, 4]}, {"y": [2, 3]}, {"w": weight(4, 3).astype(np.float64)})
    for value in (*graph.proto.graph.input, *graph.proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    assert points(graph, FP32) == ()


def test_an_operator_of_another_domain_stays_out():
    graph = one("MatMul", ["x", "w"], {"x": [2, 4]}, {"w": weight(4, 3)})
    graph.proto.graph.node[0].domain = "com.example"
    graph.proto.opset_import.add(domain="com.example", version=1)
    assert points(graph, FP32) == ()


def test_nodes_in_the_body_of_an_If_stay_out():
    def branch(name: str):
        inner = helper.make_node("MatMul", ["x", "w"], [name], f"in_{name}")
        return helper.make_graph([inner], name, [], [helper.make_tensor_value_info(name, 1, [2, 3])])

    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch("t"), else_branch=branch("e"))
    graph = model([node], {"x": [2, 4]}, {"y": [2, 3]}, {"w": weight(4, 3), "flag": np.array(True)})
    assert points(graph, FP32) == ()


def test_two_nodes_of_one_name_stay_out():
    graph = chain()
    graph.proto.graph.node[1].name = "to_c"
    assert nodes_of(points(graph, FP32)) == ["to_a"]


# ---- residual Adds -------------------------------------------------------------------------------


def block(before: str = "Relu", behind: str = "Relu", skip: str = "x", shape: str = "n"):
    """conv1, something, plus a skip connection, something, conv2."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node(before, ["c"], ["d"], "before"),
        helper.make_node("Add", [skip, "d"], ["s"], "sum"),
        helper.make_node(behind, ["s"], ["r"], "behind"),
        helper.make_node("Conv", ["r", "w2"], ["y"], "conv2"),
    ]
    weights = {"w1": weight(4, 4, 3, 3), "w2": weight(2, 4, 1, 1), "k": weight(4, 1, 1)}
    inputs = {"x": [1, 4, shape, 8], "z": [1, 4, 1, 8]}
    return model(nodes, inputs, {"y": [1, 2, shape, 8]}, weights)


def test_the_Add_of_a_residual_block_is_int8_on_both_sides():
    found = points(block(shape=8), FP32)
    assert nodes_of(found) == ["conv1", "sum", "conv2"]
    assert inputs_of(found[1:2]) == [(0, "x", None, False), (1, "d", None, False)]
    assert activations(block(shape=8), FP32) == ("x", "d", "r")


@pytest.mark.parametrize("kept", ["conv1", "conv2", "sum"])
def test_it_drops_out_with_the_nodes_around_it(kept):
    assert "sum" not in nodes_of(points(block(shape=8), FP32, kept=[kept]))


def test_it_drops_out_where_a_side_has_no_range():
    assert "sum" not in nodes_of(points(block(shape=8), FP32, thresholds={"x": 1.0, "r": 1.0}))


@pytest.mark.parametrize(
    "graph",
    [block(skip="k", shape=8), block(skip="z", shape=8), block("Exp", shape=8), block(behind="Exp", shape=8)],
    ids=["constant", "broadcast", "made by another", "read by another"],
)
def test_other_Adds_stay_out(graph):
    assert "sum" not in nodes_of(points(graph, FP32))


def test_an_Add_can_be_blocked_by_its_operator():
    assert nodes_of(points(block(shape=8), Int8Options(op_block_list=("Add",)))) == ["conv1", "conv2"]


def test_a_residual_Add_behind_which_a_gate_stands_is_int8():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv1"),
        helper.make_node("Add", ["c", "x"], ["s"], "sum"),
        helper.make_node("Sigmoid", ["s"], ["g"], "gate"),
        helper.make_node("Mul", ["s", "g"], ["h"], "swish"),
        helper.make_node("Conv", ["h", "w"], ["y"], "conv2"),
    ]
    graph = model(nodes, {"x": [1, 4, 8, 8]}, {"y": [1, 4, 8, 8]}, {"w": weight(4, 4, 1, 1)})
    assert nodes_of(points(graph, FP32)) == ["conv1", "sum", "conv2"]
