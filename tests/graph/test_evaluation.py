"""What follows from weights alone is in the file, and nothing else changes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from modelbuild.graph.evaluation import fold_computed
from modelbuild.graph.files import Model, empty_initializer, weight_of
from modelbuild.graph.runtime import session

_GRAPH = """<ir_version: 8, opset_import: ["" : 18]>
g (float[batch, 2] x) => (float[batch, 2] y) <float[2, 2] w = {1, 2, 3, 4}, float[2] b = {5, 6}> { %s }"""

CASES = {
    "arithmetic on weights": ("d = Add(w, w)  e = Mul(d, b)  y = MatMul(x, e)", ["MatMul"]),
    "a weight turned": ("t = Transpose(w)  y = MatMul(x, t)", ["MatMul"]),
    "the shape of a weight": (
        "s = Shape(w)  z = ConstantOfShape(s)  m = MatMul(x, w)  y = Gemm(m, z, b)",
        ["MatMul", "Gemm"],
    ),
    "a value that an output is, too": ("d = Add(b, b)  y = Add(x, d)", ["Add"]),
    "in a branch": (
        """d = Add(b, b)  s = ReduceMax<keepdims = 0>(x)  z = Sub(s, s)  c = Greater(s, z)
        y = If(c) <then_branch = p () => (float[batch, 2] q) { q = Add(x, d) },
                   else_branch = r () => (float[batch, 2] t) { t = Sub(x, d) }>""",
        ["ReduceMax", "Sub", "Greater", "If"],
    ),
    "random numbers": (
        "n = RandomNormalLike(w)  z = Sub(n, n)  m = MatMul(x, z)  y = Add(x, m)",
        ["RandomNormalLike", "Sub", "MatMul", "Add"],
    ),
    "a normalisation": (
        "u = Unsqueeze(x, one)  n = BatchNormalization(u, b, b, b, b)  y = Squeeze(n, one)",
        ["Unsqueeze", "BatchNormalization", "Squeeze"],
    ),
    "a quantized weight": (
        "q = QuantizeLinear(w, scale)  d = DequantizeLinear(q, scale)  y = MatMul(x, d)",
        ["QuantizeLinear", "DequantizeLinear", "MatMul"],
    ),
}  # fmt: skip


def _model(body: str) -> Model:
    text = (_GRAPH % body).replace("> {", ", int64[1] one = {2}, float scale = {0.1}> {", 1)
    return Model(onnx.parser.parse_model(text))


@pytest.mark.parametrize("name", CASES)
def test_nodes_that_need_no_input_are_computed_and_others_stay(name: str) -> None:
    body, kept = CASES[name]
    before, after = _model(body), _model(body)
    fold_computed(after)
    assert [n.op_type for n in after.proto.graph.node] == kept
    onnx.checker.check_model(after.proto, full_check=True)
    x = np.array([[1.0, -2.0], [0.5, 3.0], [7.0, 0.0]], np.float32)
    (want,), (got,) = (session(m).run(None, {"x": x}) for m in (before, after))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_a_weight_that_a_caller_may_change_is_not_folded_away() -> None:
    model = _model("d = Add(w, w)  e = Mul(b, b)  f = Mul(d, e)  y = MatMul(x, f)")
    fold_computed(model, ["w"])
    assert [n.op_type for n in model.proto.graph.node] == ["Add", "Mul", "MatMul"]
    assert {"w", "e"} <= {t.name for t in model.proto.graph.initializer}


@pytest.mark.parametrize("shared", [False, True])
def test_a_large_weight_is_folded_where_the_file_does_not_grow(shared: bool) -> None:
    text = """<ir_version: 8, opset_import: ["" : 18]> g (int64[k] i) => (float[k, 2] y, float[k, 2] o)
        <float[2] b = {5, 6}, float[1] big = {0}> { d = Add(big, b)  y = Gather(d, i)  o = Gather(%s, i) }"""
    proto = onnx.parser.parse_model(text % ("big" if shared else "d"))
    big = np.arange(40_000, dtype=np.float32).reshape(-1, 2)
    (tensor,) = (t for t in proto.graph.initializer if t.name == "big")
    tensor.CopyFrom(empty_initializer("big", onnx.TensorProto.FLOAT, big.shape))
    model = Model(proto, {"big": weight_of(big, onnx.TensorProto.FLOAT)})
    fold_computed(model)
    assert set(model.weights) == {"big" if shared else "d"}
    np.testing.assert_allclose(session(model).run(["y"], {"i": np.array([7])})[0], [[14 + 5, 15 + 6]])
