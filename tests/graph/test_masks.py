"""Fill values of masks: what a clamp does not change is not told, what it changes is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from modelbuild.graph import runtime
from modelbuild.graph.files import Model
from modelbuild.graph.precision import HalfOptions, convert

LOWEST = float(np.finfo(np.float32).min)
MASK = np.array([[0, 1, 1, 0], [0, 1, 0, 0]], np.float32)  # 1 is masked
HIDDEN = MASK.astype(bool)
SCORES = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
TABLE = np.where(np.tri(4, 4, dtype=bool), 0, LOWEST).astype(np.float32)


def node(op: str, *names: str, **attributes: object) -> NodeProto:
    return helper.make_node(op, names[:-1], [names[-1]], f"{op}_{names[-1]}", **attributes)


SOFTMAX = node("Softmax", "s", "y", axis=-1)
WHERE = node("Where", "hidden", "fill", "x", "s")


def graph(nodes: Sequence[NodeProto], fill: object) -> Model:
    made = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, [2, 4]),
            helper.make_tensor_value_info("hidden", TensorProto.BOOL, [2, 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.array(fill, np.float32), "fill"),
            onnx.numpy_helper.from_array(np.array([1, 0], np.int64), "rows"),
            onnx.numpy_helper.from_array(np.array([2, 4], np.int64), "shape"),
            onnx.numpy_helper.from_array(np.array(8, np.float32), "eight"),
        ],
    )
    return Model(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def outputs(model: Model) -> list[np.ndarray]:
    found = runtime.session(model).run(None, {"x": SCORES, "mask": MASK, "hidden": HIDDEN})
    return [np.asarray(a) for a in found]


@pytest.mark.parametrize(
    ("nodes", "fill", "silent"),
    [
        pytest.param([WHERE, SOFTMAX], LOWEST, True, id="masked-fill"),
        pytest.param([WHERE, SOFTMAX], -1e9, True, id="another-low-number"),
        pytest.param(
            [node("Mul", "mask", "fill", "m"), node("Add", "x", "m", "s"), SOFTMAX],
            LOWEST,
            True,
            id="a-product",
        ),
        pytest.param(
            [
                node("Expand", "fill", "shape", "e"),
                node("Where", "hidden", "e", "x", "w"),
                node("Div", "w", "eight", "s"),
                SOFTMAX,
            ],
            LOWEST,
            True,
            id="expanded-and-scaled",
        ),
        pytest.param(
            [node("Gather", "fill", "rows", "r"), node("Add", "x", "r", "s"), SOFTMAX],
            TABLE,
            True,
            id="a-table",
        ),
        pytest.param([WHERE, node("Sigmoid", "s", "y")], LOWEST, True, id="a-gate"),
        pytest.param([WHERE, node("Exp", "s", "y")], LOWEST, True, id="exp"),
        pytest.param(
            [WHERE, node("ArgMax", "s", "a", axis=1), node("Cast", "a", "y", to=1)],
            LOWEST,
            True,
            id="a-choice",
        ),
        pytest.param([WHERE, node("Mul", "s", "eight", "y")], LOWEST, False, id="an-output"),
        pytest.param([WHERE, node("LogSoftmax", "s", "y", axis=-1)], LOWEST, False, id="a-logarithm"),
        pytest.param([WHERE, SOFTMAX, node("ReduceMean", "s", "z")], LOWEST, False, id="read-elsewhere-too"),
        pytest.param([node("Div", "x", "fill", "y")], LOWEST, False, id="a-divisor"),
        pytest.param([WHERE, SOFTMAX], -LOWEST, False, id="a-high-number"),
        pytest.param([node("Mul", "x", "fill", "s"), node("Tanh", "s", "y")], -1e6, False, id="a-factor"),
    ],
)
def test_a_clamp_is_silent_where_every_low_number_gives_the_same(
    nodes: list[NodeProto], fill: object, silent: bool
) -> None:
    model = graph(nodes, fill)
    if any("z" in n.output for n in nodes):
        model.proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    _, said = convert(model, HalfOptions())
    assert [d.code for d in said] == ([] if silent else ["value-clamped"])
    assert all(d.level == "warning" for d in said)
    before, after = outputs(model), outputs(graph_of(model, np.clip(fill, -65504, 65504)))
    same = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert same or not silent


def graph_of(model: Model, fill: object) -> Model:
    """The same graph with another fill."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(fill, np.float32), "fill"))
    return Model(proto)


def test_one_that_is_read_in_a_branch_is_told() -> None:
    branch = helper.make_graph(
        [node("Where", "hidden", "fill", "x", "w"), node("Softmax", "w", "b", axis=-1)], "branch", [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )  # fmt: skip
    whole = [node("ReduceMax", "mask", "top", keepdims=0), node("Cast", "top", "if", to=TensorProto.BOOL)]
    model = graph([*whole, node("If", "if", "y", then_branch=branch, else_branch=branch)], LOWEST)
    assert [d.code for d in convert(model, HalfOptions())[1]] == ["value-clamped"]


def test_what_the_recipe_asks_for_is_told() -> None:
    _, said = convert(graph([WHERE, SOFTMAX], LOWEST), HalfOptions(max_finite_val=1e4))
    assert [d.code for d in said] == ["value-clamped"]


def test_in_bfloat16_the_lowest_float_is_silent_too() -> None:
    assert convert(graph([WHERE, SOFTMAX], LOWEST), HalfOptions(dtype=TensorProto.BFLOAT16))[1] == ()


def test_of_several_constants_those_that_matter_are_told() -> None:
    model = graph([WHERE, SOFTMAX, node("Mul", "x", "large", "z")], LOWEST)
    model.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1e5, np.float32), "large"))
    model.proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    (said,) = convert(model, HalfOptions())[1]
    assert said.message == "1 value beyond ±65504 became ±65504: large (1, from 100000)"
