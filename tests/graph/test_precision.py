"""Conversion to half precision: always a valid file, with the types that were asked for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelbuild.base.errors import Diagnostic
from modelbuild.graph import files, naming
from modelbuild.graph.edges import with_numpy_edges
from modelbuild.graph.files import Model
from modelbuild.graph.opset import raised
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session, session_of_file
from modelbuild.graph.simulate import simulated
from tests.graph import graph_zoo, half_oracle
from tests.graph.converted import (
    BFLOAT16,
    FLOAT,
    HALF,
    OPSETS,
    assert_edges,
    assert_valid,
    blocks,
    cast_feeds,
    casts,
    edges,
    half,
    node,
    weights,
)

# ---- every graph -------------------------------------------------------------------------------


@edges
@blocks
@pytest.mark.parametrize("name", graph_zoo.GRAPHS)
def test_a_converted_graph_is_valid_and_computes_what_numpy_says(name, blocked, keep):
    proto = graph_zoo.graph(name)
    model = half(proto, keep_io_types=keep, op_block_list=blocked)
    assert_valid(model, proto)
    assert_edges(model, proto, keep)
    feeds = cast_feeds(model, graph_zoo.feeds(proto))
    found = session(simulated(model)).run(None, feeds)
    for array, before in zip(found, session(Model(proto)).run(None, graph_zoo.feeds(proto)), strict=True):
        np.testing.assert_allclose(array.astype(before.dtype), before, rtol=2e-2, atol=2e-2)
    if name not in graph_zoo.WITHOUT_ORACLE:
        for array, wanted in zip(found, half_oracle.run(model.proto, feeds), strict=True):
            half_oracle.assert_agree(array, np.asarray(wanted))


@edges
@pytest.mark.parametrize("name", graph_zoo.GRAPHS)
def test_a_graph_in_bfloat16_is_valid_and_computes_what_numpy_says(name, keep):
    proto = graph_zoo.graph(name)
    options = HalfOptions(keep_io_types=keep, op_block_list=(), dtype=BFLOAT16)
    model, _ = raised(Model(proto), BFLOAT16, options.blocks())
    model, _ = convert(model, options)
    onnx.checker.check_model(model.proto, full_check=True)
    assert_edges(model, proto, keep, BFLOAT16)
    model, feeds = with_numpy_edges(model), graph_zoo.feeds(proto)
    found = session(simulated(model)).run(None, feeds)
    for array, before in zip(found, session(Model(proto)).run(None, feeds), strict=True):
        np.testing.assert_allclose(array, before, rtol=0.1, atol=0.1)
    if name not in graph_zoo.WITHOUT_ORACLE:
        for array, wanted in zip(found, half_oracle.run(model.proto, feeds, BFLOAT16), strict=True):
            half_oracle.assert_agree(array, np.asarray(wanted), BFLOAT16)


@pytest.mark.parametrize("opset", OPSETS)
def test_every_graph_is_valid_at_every_opset(opset):
    for name in graph_zoo.GRAPHS:
        if opset >= graph_zoo.SINCE.get(name, 13) and (name != "random-and-eye" or opset < 22):
            for keep in (True, False):
                proto = graph_zoo.graph(name, opset)
                model = half(proto, keep_io_types=keep)
                assert_valid(model, proto)
                assert_edges(model, proto, keep)


@pytest.mark.parametrize("name", graph_zoo.GRAPHS)
def test_conversion_gives_the_same_bytes_again_and_leaves_its_input_alone(name, tmp_path):
    proto = graph_zoo.graph(name)
    before = proto.SerializeToString(deterministic=True)
    for path in ("a", "b"):
        files.write(half(proto), tmp_path / path)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert proto.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", graph_zoo.GRAPHS)
def test_types_need_no_shape_inference(name):
    proto = graph_zoo.graph(name)
    if name == "operator-of-another-domain":
        proto.graph.value_info.append(helper.make_tensor_value_info("k", FLOAT, [2]))
    with_it, without = (half(proto, disable_shape_infer=flag) for flag in (False, True))
    assert_valid(without, proto)
    if "sequence" not in name:  # what comes out of a sequence then stays float32
        assert without.proto == with_it.proto


# ---- what is kept ------------------------------------------------------------------------------


def test_a_blocked_node_and_its_weights_stay_as_they_are():
    model = half(graph_zoo.graph("weight-shared-with-a-blocked-node"))
    held = weights(model)
    assert held["w"].dtype == np.float32
    assert held["w"][0] == np.float32(0.1)
    assert held["w_fp16"].dtype == np.float16
    assert list(node(model, "z").input) == ["x", "w"]
    assert list(node(model, "y_fp16").input) == ["x_fp16", "w_fp16"]


@pytest.mark.parametrize("block", ["second", "h"], ids=["by-name", "unnamed-by-its-output"])
def test_a_node_is_blocked_by_its_name_or_its_first_output(block):
    proto = graph_zoo.parse(
        "g (float[2] x) => (float[2] y) <float[2] w = {0.1, 0.2}> {h = Mul(x, w) y = Tanh(h)}"
    )
    if block == "second":
        proto.graph.node[0].name = "second"
    model = half(proto, node_block_list=(block,))
    assert weights(model)["w"].dtype == np.float32
    assert casts(model) == ["h_to_fp16", "y_to_fp32"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("hh", "did you mean `h`?"),
        ("norm.7", "`modelbuild inspect --nodes` lists those of a file, with the model's lines"),
    ],
)
def test_a_node_that_does_not_exist_is_pointed_out(name, hint):
    proto = graph_zoo.graph("linear")
    _, said = convert(Model(proto), HalfOptions(node_block_list=(name,)))
    assert said == (
        Diagnostic(
            "recipe-invalid",
            f"`node_block_list` names the node {name!r}, which the graph does not have",
            hint,
            level="warning",
        ),
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Softmaxx", "did you mean `Softmax`?"), ("layernormalization", "did you mean `LayerNormalization`?")],
)
def test_an_operator_that_does_not_exist_is_pointed_out(name, hint):
    _, said = convert(Model(graph_zoo.graph("linear")), HalfOptions(op_block_list=(name, "Softmax")))
    message = f"`op_block_list` names the operator {name!r}, which neither ONNX nor the graph has"
    assert said == (Diagnostic("recipe-invalid", message, hint, level="warning"),)


def test_operators_that_the_graph_could_have_are_no_mistake():
    from onnxconverter_common.float16 import DEFAULT_OP_BLOCK_LIST

    later = ("RMSNormalization", "Attention")  # of a later opset than the graph's
    ops = (*DEFAULT_OP_BLOCK_LIST, *later, "Gelu", "Upsample")
    proto = graph_zoo.graph("operator-of-another-domain", 17)
    assert convert(Model(proto), HalfOptions(op_block_list=ops))[1] == ()
    proto.graph.node[1].op_type = "FusedGelu"
    assert convert(Model(proto), HalfOptions(op_block_list=("FusedGelu",)))[1] == ()


def test_operators_and_nodes_are_blocked_together():
    proto = graph_zoo.graph("linear")
    model = half(proto, op_block_list=("Add",), node_block_list=("h",))
    assert casts(model) == []
    assert {array.dtype for array in weights(model).values()} == {np.dtype(np.float32)}
    model = half(proto, op_block_list=("Add",))
    assert {name: array.dtype for name, array in weights(model).items()} == {"w": np.float16, "b": np.float32}


@edges
@pytest.mark.parametrize("name", graph_zoo.GRAPHS)
def test_a_node_goes_by_the_same_name_in_the_converted_graph(name, keep):
    proto = graph_zoo.graph(name)
    model = half(proto, keep_io_types=keep)
    old, new = (
        {
            naming.label(n)
            for g in naming.graphs(naming.prepared(p).graph)
            for n in g.node
            if n.op_type != "Cast"
        }
        for p in (proto, model.proto)
    )
    assert old <= new


def test_an_if_that_is_blocked_keeps_all_it_carries():
    proto = graph_zoo.graph("if-with-names-used-twice")
    model = half(proto, node_block_list=("r",))
    carried = node(model, "r")
    assert_valid(model)
    for attribute in carried.attribute:
        types = onnx.shape_inference.infer_shapes(model.proto)
        assert all(v.type.tensor_type.elem_type == FLOAT for v in attribute.g.output)
        assert not [n for n in attribute.g.node if n.op_type == "Cast"]
        assert types.graph.output[0].type.tensor_type.elem_type == FLOAT


def test_what_only_moves_values_between_two_blocked_nodes_is_not_rounded():
    model = half(graph_zoo.graph("moves-between-two-blocked-nodes"))
    assert casts(model) == []
    assert [n.op_type for n in model.proto.graph.node] == ["Max", "Transpose", "Min"]


def test_sizes_are_computed_in_float32():
    proto = graph_zoo.graph("sizes-computed-in-float")
    model = half(proto, keep_io_types=False, op_block_list=())
    assert weights(model)["factor"].dtype == np.float32
    x = np.ones((1, 3001), np.float16)
    assert session(model).run(None, {"x": x})[0].shape == (1, 3003)


def test_a_cast_inside_makes_what_its_users_want():
    model = half(graph_zoo.graph("internal-cast-of-a-mask"))
    assert node(model, "m").attribute[0].i == HALF
    assert casts(model) == ["x_to_fp16", "", "y_to_fp32"]


def test_casts_stand_right_behind_the_definition():
    model = half(graph_zoo.graph("output-used-inside"))
    order = [n.output[0] for n in model.proto.graph.node]
    assert order == ["x_fp16", "h_fp16", "h", "y_fp16", "y"]


def test_a_body_uses_the_version_cast_outside():
    model = half(graph_zoo.graph("if-with-names-used-twice"), op_block_list=("Mul",))
    then = next(a.g for a in node(model, "r").attribute if a.name == "then_branch")
    assert list(then.node[0].input) == ["s_fp32", "w"]
    assert [n.output[0] for n in model.proto.graph.node][:3] == ["x_fp16", "s", "s_fp32"]


def test_what_a_file_says_of_a_tensor_inside_is_gone_with_its_type():
    proto = graph_zoo.graph("linear")
    proto.graph.value_info.append(helper.make_tensor_value_info("h", FLOAT, ["batch", 3]))
    assert not half(proto).proto.graph.value_info


def test_float64_is_left_alone():
    model = half(graph_zoo.graph("float64-inside"), keep_io_types=False)
    assert [v.type.tensor_type.elem_type for v in model.proto.graph.output] == [HALF, TensorProto.DOUBLE]
    assert node(model, "d").attribute[0].i == TensorProto.DOUBLE


def test_bfloat16_takes_the_same_road():
    proto = graph_zoo.graph("linear")
    model = half(proto, dtype=BFLOAT16)
    onnx.checker.check_model(model.proto, full_check=True)
    assert casts(model) == ["x_to_bf16", "y_to_fp32"]
    feeds = {"x": np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)}
    found = session(simulated(model)).run(None, feeds)[0]
    assert np.array_equal(found.view(np.uint32) & 0xFFFF, np.zeros((1, 3), np.uint32))
    np.testing.assert_allclose(found, session(Model(proto)).run(None, feeds)[0], rtol=2e-2)


# ---- clamping ----------------------------------------------------------------------------------


def clamped(values: list[float], **options: object) -> tuple[np.ndarray, tuple[Diagnostic, ...]]:
    w = np.array(values, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, list(w.shape))],
        [helper.make_tensor_value_info("y", FLOAT, list(w.shape))],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model, said = convert(Model(proto), HalfOptions(**options))
    return weights(model)["w"], said


def test_values_that_half_does_not_hold_are_clamped_and_said():
    found, said = clamped([65536.0, -1e30, 1e-9, -2e-8, 3e-8, 1.0])
    assert found.tolist() == [65504.0, -65504.0, *np.float16([1e-7, -1e-7, 1e-7]).tolist(), 1.0]
    assert said == (
        Diagnostic(
            "value-clamped",
            "2 values beyond ±65504 became ±65504: w (2, from -1e+30)",
            "keep the nodes that use them in fp32 with `node_block_list`",
            level="warning",
        ),
        Diagnostic(
            "value-clamped",
            "3 values of 6, not zero but closer to it than ±1e-07, became ±1e-07: w (3, from 1e-09)",
            level="info",
        ),
    )


def test_zero_infinity_and_nan_are_not_clamped():
    found, said = clamped([0.0, -0.0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(found, np.float16([0.0, -0.0, np.inf, -np.inf, np.nan]))
    assert np.signbit(found[1])
    assert said == ()


def test_the_bounds_are_the_options():
    found, said = clamped([2000.0, 0.001], max_finite_val=1000.0, min_positive_val=0.01)
    assert found.tolist() == np.float16([1000.0, 0.01]).tolist()
    assert "or raise `max_finite_val`" in str(said[0].hint)


def test_bfloat16_holds_what_float32_does_and_only_what_would_round_to_infinity_is_clamped():
    largest = 3.3895313892515355e38
    found, said = clamped([3.4028235e38, -3.4e38, 1e38, 65536.0, 1e-9, 1e-38, 0.0], dtype=BFLOAT16)
    wanted = np.array([largest, -largest, 1e38, 65536.0, 1e-9, 1e-38, 0.0])
    np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=2**-8)
    assert np.isfinite(found.astype(np.float32)).all()
    assert said == (
        Diagnostic(
            "value-clamped",
            "2 values beyond ±3.38953e+38 became ±3.38953e+38: w (2, from 3.40282e+38)",
            level="info",
        ),
    )


def test_a_clamp_that_moves_a_value_no_farther_than_rounding_is_no_warning():
    assert [d.level for d in clamped([65536.0])[1]] == ["info"]
    assert [d.level for d in clamped([65600.0])[1]] == ["warning"]


def test_infinite_bounds_clamp_nothing():
    found, said = clamped([1e30, 1e-30], max_finite_val=float("inf"), min_positive_val=0.0)
    assert found.tolist() == [np.inf, 0.0]
    assert said == ()


@pytest.mark.parametrize("external", [False, True])
def test_large_weights_are_rounded_when_they_are_written(tmp_path, external):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(300, 300)).astype(np.float32)
    w[7, 7] = 1e6
    loads = []
    weight = files.Weight(FLOAT, w.shape, w.nbytes, lambda: loads.append(1) or w)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 300])],
        [helper.make_tensor_value_info("y", FLOAT, ["n", 300])],
        [files.empty_initializer("w", FLOAT, w.shape)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model, said = convert(Model(proto, {"w": weight}), HalfOptions())
    assert len(loads) == 1
    assert said[0].message.endswith("w (1, from 1e+06)")
    path = tmp_path / "m.onnx"
    files.write(model, path, external=external)
    again = files.read(path)
    wanted = np.clip(w, -65504, 65504).astype(np.float16)
    np.testing.assert_array_equal(again.weights["w"].load(), wanted)
    onnx.checker.check_model(str(path), full_check=True)


@pytest.mark.slow
def test_a_graph_above_2_gb_becomes_one_that_loads_and_computes(tmp_path):
    side = 2**14  # 1 GiB of float32 a weight, which nobody makes before it is needed

    def values() -> np.ndarray:
        made = np.zeros((side, side), np.float32)
        made[0, :] = 0.1
        return made

    weight = files.Weight(FLOAT, (side, side), 4 * side * side, values)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], "first"),
        helper.make_node("MatMul", ["h", "b"], ["k"], "second"),
        helper.make_node("MatMul", ["k", "c"], ["y"], "third"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, [1, side])],
        [helper.make_tensor_value_info("y", FLOAT, [1, side])],
        [files.empty_initializer(name, FLOAT, weight.dims) for name in "abc"],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = HalfOptions(node_block_list=("first", "third"))
    model, said = convert(Model(proto, dict.fromkeys("abc", weight)), options)
    assert said == ()
    path = tmp_path / "m.onnx"
    files.write(model, path)
    assert (tmp_path / "m.onnx.data").stat().st_size > 2**31
    onnx.checker.check_model(str(path), full_check=True)
    again = files.read(path)
    assert {n: w.dtype for n, w in again.weights.items()} == {"a": FLOAT, "b": HALF, "c": FLOAT}
    x = np.zeros((1, side), np.float32)
    x[0, 0] = 2.0
    wanted = np.float32(np.float16(2.0 * 0.1)) * np.float32(np.float16(0.1)) * np.float32(0.1)
    for load in (lambda: session_of_file(path), lambda: session(simulated(again))):
        (found,) = load().run(None, {"x": x})
        np.testing.assert_allclose(found, np.full((1, side), wanted), rtol=2e-3)
