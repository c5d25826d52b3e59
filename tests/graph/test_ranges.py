"""Ranges: what tensors hold in float32, and what half precision makes of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from modelbuild.graph.files import Model, numpy_dtype
from modelbuild.graph.gauges import Limits
from modelbuild.graph.naming import graphs, prepared
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.ranges import Range, all_ranges, half_ranges, ranges
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulation
from tests.graph import graph_zoo

FP16, BF16 = int(TensorProto.FLOAT16), int(TensorProto.BFLOAT16)

RMS_NORM = """
    g (float[n, 4] x) => (float[n, 4] y)
    <float two = {2.0}, int64[1] axis = {-1}>
    { q = Pow(x, two)  m = ReduceMean(q, axis)  s = Sqrt(m)  r = Reciprocal(s)  y = Mul(x, r) }"""


def named(text: str) -> onnx.ModelProto:
    proto = graph_zoo.parse(text)
    for graph in graphs(proto.graph):
        for node in graph.node:
            node.name = f"node_{node.output[0]}"
    return proto


def report(
    text: str, *feeds: dict[str, np.ndarray], rounded: bool = False, **options: object
) -> dict[str, Range]:
    model = convert(Model(named(text)), HalfOptions(**options))[0]
    return {row.tensor: row for row in half_ranges(model, feeds, rounded=rounded)}


def losses(rows: Mapping[str, Range]) -> dict[str, tuple[int, int]]:
    return {name: (row.overflows, row.zeros) for name, row in rows.items() if row.overflows or row.zeros}


@pytest.mark.parametrize("keep", [True, False])
def test_every_tensor_made_in_half_is_listed_in_order_with_its_size_in_float32(keep):
    x = np.array([[500.0, 1.0, 2.0, 3.0]], np.float32 if keep else np.float16)
    found = list(report(RMS_NORM, {"x": x}, keep_io_types=keep).values())
    first = [Range("x_to_fp16", "Cast", "x_fp16", 500.0, 0, 0, 0, 4)] if keep else []
    assert found[:-4] == [*first, Range("node_q", "Pow", "q", 250000.0, 1, 0, 0, 4)]
    mean, root, inverse, y = found[-4:]
    assert (mean.node, mean.op_type, mean.overflows) == ("node_m", "ReduceMean", 0)
    assert mean.largest == pytest.approx(62503.5)
    assert root.largest == pytest.approx(250.007)
    assert inverse.largest == pytest.approx(1 / 250.007)
    assert y.largest == pytest.approx(500 / 250.007)


def test_a_range_is_that_of_all_inputs_together():
    feeds = [{"x": np.full((n, 4), v, np.float32)} for n, v in ((1, 300.0), (2, 1.0), (3, 1e-5))]
    found = report(RMS_NORM, *feeds)["q"]
    assert found == Range("node_q", "Pow", "q", 90000.0, 4, 12, 0, 24)


def test_a_node_kept_in_float32_has_no_range():
    found = report(RMS_NORM, {"x": np.ones((1, 4), np.float32)}, node_block_list=("node_q", "node_m"))
    assert [row.node for row in found.values()] == ["x_to_fp16", "m_to_fp16", "node_s", "node_r", "node_y"]


def test_what_only_moves_values_has_no_range_of_its_own():
    text = """g (float[2, 3] x) => (float[3, 2] y)
    { h = Exp(x)  t = Transpose<perm = [1, 0]>(h)  r = Relu(t)  y = Identity(r) }"""
    assert list(report(text, {"x": np.ones((2, 3), np.float16)}, keep_io_types=False)) == ["h"]


@pytest.mark.parametrize("dtype", [FP16, BF16])
def test_a_value_is_lost_exactly_where_rounding_loses_it(dtype):
    limits = Limits.of(dtype)
    values = []
    for limit in map(np.float32, (limits.overflow, limits.zero)):
        values += [np.nextafter(limit, np.float32(0)), limit, np.nextafter(limit, np.float32(np.inf))]
    x = np.array([*values, 0.0, np.inf, np.nan, 1.0], np.float32)
    with np.errstate(over="ignore"):
        rounded = x.astype(numpy_dtype(dtype)).astype(np.float32)
    model = Model(named("g (float[n] x) => (float[n] y) { h = Identity(x)  y = Neg(h) }"))
    (found,) = ranges(model, ["h"], [{"x": -x}], dtype)
    assert found.overflows == np.count_nonzero(np.isinf(rounded) & np.isfinite(x)) == 2
    assert found.zeros == np.count_nonzero((rounded == 0) & (x != 0)) == 2
    assert found.nonfinite == 2
    assert found.largest == values[2]
    for value in x:  # alone, so that nothing else makes it look
        (one,) = ranges(model, ["h"], [{"x": np.array([value], np.float32)}], dtype)
        with np.errstate(over="ignore"):
            half = np.float32(value).astype(numpy_dtype(dtype)).astype(np.float32)
        assert one.overflows == (np.isinf(half) and np.isfinite(value)), value
        assert one.zeros == (half == 0 and value != 0), value
        assert one.nonfinite == (not np.isfinite(value)), value


@pytest.mark.parametrize(
    ("text", "x", "expected"),
    [
        pytest.param(
            "g (float[2] x) => (float[2] y) { y = Sigmoid(x) }", [1e5, 0.0],
            {"x_fp16": Range("x_to_fp16", "Cast", "x_fp16", 1e5, 1, 0, 0, 2)}, id="an-input",
        ),
        pytest.param(
            """g (float[2] x) => (float[2] y) <int64[2] big = {70000, 1}>
            { f = Cast<to = 1>(big)  y = Mul(x, f) }""", [1.0, 1.0],
            {"f": Range("node_f", "Cast", "f", 70000.0, 1, 0, 0, 2),
             "y_fp16": Range("node_y", "Mul", "y_fp16", 70000.0, 1, 0, 0, 2)}, id="an-integer",
        ),
        pytest.param(
            """g (float[2] x) => (float[2] y) <int64 n = {3}, bool go = {1}>
            { y = Loop(n, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t)
                { d = Identity(c)  t = Mul(s, s) }> }""", [5.0, 1.0],
            {"t": Range("node_t", "Mul", "t", 390625.0, 1, 0, 0, 6)}, id="in-a-loop",
        ),
        pytest.param(
            """g (float[2] x) => (float[2] y) <int64 n = {0}, bool go = {1}>
            { y = Loop(n, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t)
                { d = Identity(c)  t = Mul(s, s) }> }""", [5.0, 1.0],
            {}, id="in-a-loop-that-does-not-run",
        ),
        pytest.param(
            """g (float[2] x) => (float[2] y) <int64 n = {2}, bool go = {1}>
            { y = Loop(n, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t)
                { d = Identity(c)
                  t = Loop(n, c, s) <body = e (int64 j, bool u, float[2] v) => (bool w, float[2] z)
                      { w = Identity(u)  z = Mul(v, v) }> }> }""", [5.0, 1.0],
            {"z": Range("node_z", "Mul", "z", 152587894784.0, 2, 0, 0, 8)}, id="in-a-loop-in-a-loop",
        ),
        pytest.param(
            """g (float[2] x) => (float[2] y, float[2, 2] z)
            { y, z = Scan<num_scan_inputs = 1, scan_output_axes = [1],
                          body = b (float[2] s, float[2] a) => (float[2] t, float[2] u)
                          { t = Mul(s, a)  u = Exp(t) }>(x, w) }""".replace(
                "(float[2] x)", "(float[2] x, float[2, 2] w)"), [300.0, 1.0],
            {"t": Range("node_t", "Mul", "t", 27000000.0, 2, 0, 0, 4)}, id="in-a-scan",
        ),
        pytest.param(
            """g (float[2] x) => (float[2] y) <float zero = {0}>
            { m = ReduceMax<keepdims = 0>(x)  c = Greater(m, zero)
              y = If(c) <then_branch = a () => (float[2] p) { q = Mul(x, x)  p = Sqrt(q) },
                         else_branch = b () => (float[2] r) { v = Exp(x)  o = Mul(v, v)  r = Sqrt(o) }> }""",
            [300.0, 1.0], {"q": Range("node_q", "Mul", "q", 90000.0, 1, 0, 0, 2)}, id="in-a-branch",
        ),
    ],
)  # fmt: skip
def test_a_lost_value_is_found_wherever_it_is_made(text, x, expected):
    feeds = {"x": np.array(x, np.float32)}
    if "w)" in text:
        feeds["w"] = np.array([[300.0, 1.0], [300.0, 1.0]], np.float32)
    model = convert(Model(named(text)), HalfOptions())[0]
    found = half_ranges(model, [feeds])
    assert {row.tensor: row for row in found if row.overflows or row.zeros} == expected


def test_a_branch_that_is_not_taken_holds_nothing():
    text = """g (float[2] x, bool c) => (float[2] y)
    { y = If(c) <then_branch = a () => (float[2] p) { p = Exp(x) },
                 else_branch = b () => (float[2] r) { r = Tanh(x) }> }"""
    model = Model(named(text))
    x = np.zeros(2, np.float32)
    taken, other = ranges(model, ["p", "r"], [{"x": x, "c": np.array(True)}], FP16)
    assert (taken.elements, taken.largest, other.elements, other.largest) == (2, 1.0, 0, 0.0)


@pytest.mark.parametrize(
    "text",
    [
        "g (float[2] x) => (float[2] y) <float low = {-inf}> { m = Max(x, low)  y = Add(m, low) }",
        """g (float[2] x) => (float[2] y)
        { low = Constant<value_float = -inf>()  m = Max(x, low)  y = Add(m, low) }""",
        "g (float[0] x) => (float[0] y) { y = Sigmoid(x) }",
    ],
    ids=["infinite-weight", "infinite-constant", "no-values"],
)
def test_an_infinity_of_the_model_is_no_overflow(text):
    proto = graph_zoo.parse(text.replace("-inf", "-1.5"))
    for tensor in proto.graph.initializer:
        tensor.float_data[:] = [-np.inf]
    for node in proto.graph.node:
        for attribute in node.attribute:
            attribute.f = -np.inf
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    model, _ = convert(Model(proto), HalfOptions(op_block_list=()))
    found = half_ranges(model, [{"x": np.ones(shape, np.float32)}])
    assert losses({row.tensor: row for row in found}) == {}


def test_an_overflow_that_only_rounding_makes_shows_in_the_rounded_run():
    text = """g (float[4] x) => (float[1] y) <int64[1] axis = {0}>
    { b = ReduceSum(x, axis)  y = Sqrt(b) }"""
    x = np.array([16382, 16382, 16382, 16370], np.float32)  # in half 16384 and 16368
    assert losses(report(text, {"x": x})) == {}
    found = report(text, {"x": x}, rounded=True)
    assert losses(found) == {"b": (1, 0)}
    assert found["b"].largest == 65520.0


def test_behind_an_overflow_a_rounded_run_shows_nothing_but_infinities():
    x = np.array([[500.0, 1.0, 2.0, 3.0]], np.float32)
    found = report(RMS_NORM, {"x": x}, rounded=True)
    assert losses(found) == {"q": (1, 0)}
    assert (found["m"].nonfinite, found["s"].nonfinite) == (1, 1)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_ranges_are_taken_at_every_opset(opset):
    proto = named("g (float[n] x) => (float[n] y) { h = Exp(x)  y = Sqrt(h) }")
    proto.opset_import[0].version = opset
    (found,) = ranges(Model(proto), ["h"], [{"x": np.array([np.log(70000.0), -20.0], np.float32)}], FP16)
    assert (found.overflows, found.zeros) == (1, 1)
    (found,) = ranges(Model(proto), ["h"], [{"x": np.zeros(0, np.float32)}], FP16)
    assert (found.largest, found.elements) == (0.0, 0)


def test_inputs_weights_and_integers_of_a_float32_graph_have_ranges_too():
    text = """g (float[2] x, int64[2] i) => (float[2] y) <float[2] w = {1.0, 70000.0}>
    { h = Mul(x, w)  f = Cast<to = 1>(i)  y = Add(h, f) }"""
    model = Model(named(text))
    feeds = {"x": np.array([1e-9, 2.0], np.float32), "i": np.array([3, -70000], np.int64)}
    found = ranges(model, ["y", "i", "w", "x"], [feeds], FP16)
    assert [(r.node, r.tensor, r.overflows, r.zeros) for r in found] == [
        ("", "x", 0, 1), ("", "i", 1, 0), ("", "w", 1, 0), ("node_y", "y", 1, 0),
    ]  # fmt: skip


def test_the_graph_itself_is_left_as_it_was():
    proto = prepared(named(RMS_NORM))
    model = Model(proto)
    before = proto.SerializeToString(deterministic=True)
    ranges(model, ["q"], [{"x": np.ones((1, 4), np.float32)}], FP16)
    assert proto.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", sorted(set(graph_zoo.GRAPHS) - {"random-and-eye"}))
def test_the_ranges_of_every_graph_are_those_of_its_tensors(name):
    proto = graph_zoo.graph(name)
    feeds = graph_zoo.feeds(proto)
    half, _ = convert(Model(proto), HalfOptions())
    for rounded in (False, True):
        simulated = simulation(half, rounding=rounded)
        watched = {t: p for t, p in simulated.before.items() if p in main_tensors(simulated.model.proto)}
        simulated.model.proto.graph.output.extend(onnx.ValueInfoProto(name=p) for p in watched.values())
        arrays = session(simulated.model).run(list(watched.values()), feeds) if watched else []
        found = {row.tensor: row for row in half_ranges(half, [feeds], rounded=rounded)}
        assert found.keys() >= watched.keys()
        for tensor, array in zip(watched, arrays, strict=True):
            sizes = np.abs(array.astype(np.float32))
            assert found[tensor].elements == sizes.size
            wanted = float(sizes[np.isfinite(sizes)].max(initial=0))
            assert found[tensor].largest == pytest.approx(wanted, rel=1e-4), tensor


def main_tensors(proto: onnx.ModelProto) -> set[str]:
    return {v.name for v in proto.graph.input} | {name for node in proto.graph.node for name in node.output}


@pytest.mark.parametrize(
    ("text", "x", "mean"),
    [
        pytest.param("g (float[n] x) => (float[n] y) { y = Abs(x) }", [-4.0, 2.0], 3.0, id="in-range"),
        pytest.param("g (float[n] x) => (float[n] y) { y = Mul(x, x) }", [300.0, 1.0], 45000.5, id="beyond"),
        pytest.param("g (float[n] x) => (float[n] y) { y = Log(x) }", [0.0, 1.0, np.e], 0.5, id="infinite"),
        pytest.param(
            """g (float[2] x) => (float[2] y) <int64 n = {3}, bool go = {1}>
            { y = Loop(n, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t)
                { d = Identity(c)  t = Mul(s, s) }> }""", [2.0, 1.0], (4 + 16 + 256 + 3) / 6, id="in-a-loop",
        ),
        pytest.param(
            """g (float[2] x) => (float[2] y) <float zero = {0}>
            { m = ReduceMax<keepdims = 0>(x)  c = Greater(m, zero)
              y = If(c) <then_branch = a () => (float[2] p) { p = Mul(x, x) },
                         else_branch = b () => (float[2] r) { r = Exp(x) }> }""",
            [3.0, 1.0], 5.0, id="in-a-branch",
        ),
    ],
)  # fmt: skip
def test_the_mean_magnitude_is_that_of_the_finite_values(text, x, mean):
    model = Model(named(text))
    wanted = {"y", "t", "p"} & {
        o for g in graphs(prepared(model.proto).graph) for n in g.node for o in n.output
    }
    name = sorted(wanted)[0]
    (row,) = ranges(model, [name], [{"x": np.array(x, np.float32)}], FP16)
    assert row.mean == pytest.approx(mean)


def test_what_a_kept_node_makes_is_listed_with_what_is_half():
    text = "g (float[n] x) => (float[n] y) { a = Mul(x, x)  b = Sqrt(a)  y = Tanh(b) }"
    model = convert(Model(named(text)), HalfOptions(node_block_list=("node_a",)))[0]
    rows, kept = all_ranges(model, [{"x": np.array([300.0, 1.0], np.float32)}], FP16)
    of = {row.node: row for row in rows}
    assert kept == {of["node_a"].tensor}
    assert (of["node_a"].largest, of["node_a"].overflows) == (90000.0, 1)
    assert of["node_b"].largest == 300.0
    assert [row for row in rows if row.tensor not in kept] == half_ranges(
        model, [{"x": np.array([300.0, 1.0], np.float32)}]
    )


def test_a_file_that_keeps_everything_in_float32_lists_what_was_kept():
    model = Model(named("g (float[n] x) => (float[n] y) { a = Mul(x, x)  y = Abs(a) }"))
    rows, kept = all_ranges(model, [{"x": np.array([300.0], np.float32)}], FP16)
    assert [(r.tensor, r.overflows) for r in rows] == [("a", 1), ("y", 1)]
    assert kept == {"a", "y"}
