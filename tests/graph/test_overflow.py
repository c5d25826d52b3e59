"""Overflow is traced to the nodes at which it begins."""

from __future__ import annotations

import graph_zoo
import numpy as np
import pytest

from modelbuild.graph.files import Model
from modelbuild.graph.overflow import Overflow, overflow_report
from modelbuild.graph.precision import HalfOptions, convert

RMS_NORM = """
    g (float[n, 4] x) => (float[n, 4] y)
    <float two = {2.0}, int64[1] axis = {-1}>
    { q = Pow(x, two)  m = ReduceMean(q, axis)  s = Sqrt(m)  r = Reciprocal(s)  y = Mul(x, r) }"""


def report(text: str, feeds: dict[str, np.ndarray], **options: object) -> list[Overflow]:
    proto = graph_zoo.parse(text)
    for node in proto.graph.node:
        node.name = f"node_{node.output[0]}"
    return overflow_report(convert(Model(proto), HalfOptions(**options))[0], feeds)


@pytest.mark.parametrize("keep", [True, False])
def test_the_first_node_is_named_with_its_magnitude(keep):
    x = np.array([[500.0, 1.0, 2.0, 3.0]], np.float32 if keep else np.float16)
    found = report(RMS_NORM, {"x": x}, keep_io_types=keep)
    assert found == [Overflow("node_q", "Pow", "q", 250000.0)]


def test_nothing_is_reported_where_all_stays_finite():
    assert report(RMS_NORM, {"x": np.ones((2, 4), np.float32)}) == []


def test_nothing_is_reported_of_a_node_kept_in_float32():
    x = np.array([[500.0, 1.0, 2.0, 3.0]], np.float32)
    assert report(RMS_NORM, {"x": x}, node_block_list=("node_q", "node_m")) == []


@pytest.mark.parametrize(
    ("text", "x", "expected"),
    [
        pytest.param(
            "g (float[2] x) => (float[2] y) { y = Sigmoid(x) }",
            [1e5, 0.0], Overflow("x_to_fp16", "Cast", "x_fp16", 1e5), id="an-input",
        ),
        pytest.param(
            "g (float[2] x) => (float[2] y) { y = Log(x) }",
            [-1.0, 1.0], Overflow("node_y", "Log", "y_fp16", np.inf), id="not-a-number",
        ),
        pytest.param(
            """g (float[2] x) => (float[2] y) <int64[2] big = {70000, 1}>
            { f = Cast<to = 1>(big)  y = Mul(x, f) }""",
            [1.0, 1.0], Overflow("node_f", "Cast", "f", 70000.0), id="an-integer",
        ),
        pytest.param(
            """g (float[2] x) => (float[2] y) <int64 n = {3}, bool go = {1}>
            { y = Loop(n, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t)
                { d = Identity(c)  t = Mul(s, s) }> }""",
            [50.0, 1.0], Overflow("node_y", "Loop", "y_fp16", np.inf), id="inside-a-loop",
        ),
    ],
)  # fmt: skip
def test_overflow_is_found_wherever_it_begins(text, x, expected):
    assert report(text, {"x": np.array(x, np.float32)}) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2] x) => (float[2] y) <float low = {-inf}> { y = Max(x, low) }",
        "g (float[2] x) => (float[2] y) { low = Constant<value_float = -inf>()  y = Max(x, low) }",
        "g (float[0] x) => (float[0] y) { y = Sigmoid(x) }",
    ],
    ids=["infinite-weight", "infinite-constant", "no-values"],
)
def test_an_infinity_of_the_model_is_no_overflow(text):
    proto_text = text.replace("-inf", "-1.5")
    proto = graph_zoo.parse(proto_text)
    for tensor in proto.graph.initializer:
        tensor.float_data[:] = [-np.inf]
    for node in proto.graph.node:
        for attribute in node.attribute:
            attribute.f = -np.inf
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    model, _ = convert(Model(proto), HalfOptions(op_block_list=()))
    assert overflow_report(model, {"x": np.ones(shape, np.float32)}) == []
