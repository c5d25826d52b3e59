"""What is said of the values that half precision loses."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from modelbuild.graph.files import Model
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.steps.losses import Losses, losses


def lost(text: str, *values: object, broke: bool = False, dtype: int = 10) -> Losses:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    for node in proto.graph.node:
        node.name = node.output[0]
    model, _ = convert(Model(proto), HalfOptions(dtype=dtype, op_block_list=()))
    feeds = [{"x": np.array(x, np.float32)} for x in values]
    return losses(model, {10: "fp16", 16: "bf16"}[dtype], lambda: feeds, broke=broke)


def said(found: Losses) -> list[tuple[str, str]]:
    return [(d.code, d.message) for d in found.diagnostics]


def test_the_largest_values_of_all_inputs_come_first_and_the_rest_is_counted() -> None:
    text = "g (float[n] x) => (float[n] y) { a = Mul(x, x)  b = Mul(a, x)  c = Mul(b, x)  d = Neg(c)  " + (
        "e = Mul(c, a)  y = Mul(e, a) }"
    )
    found = lost(text, [2.0], [20.0], [30.0, 1.0])
    assert said(found) == [
        (
            "fp16-overflow",
            "values leave fp16's range (65504) at `y` (Mul, up to 6.56e+11), `e` (Mul, up to 7.29e+08), "
            "`c` (Mul, up to 8.1e+05)",
        )
    ]
    rows = {row["tensor"]: row for row in found.rows}
    assert list(rows) == ["x_fp16", "a", "b", "c", "e", "y_fp16"]
    assert rows["c"] == {
        "node": "c", "op_type": "Mul", "tensor": "c", "largest": 810000.0, "overflows": 2, "zeros": 0,
        "nonfinite": 0, "elements": 4, "mean": (2**4 + 20**4 + 30**4 + 1) / 4,
        "upstream": ["b", "x_to_fp16", "a"],
    }  # fmt: skip


def test_a_cast_is_told_with_what_comes_before_it() -> None:
    text = "g (float[n] x) => (float[n] y) { a = Mul(x, x)  y = Tanh(a) }"
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}')
    model, _ = convert(Model(proto), HalfOptions(node_block_list=("a",)))
    feeds = [{"x": np.array([300.0], np.float32)}]
    found = losses(model, "fp16", lambda: feeds, broke=False)
    (row,) = (row for row in found.rows if row["overflows"])
    assert (row["node"], row["op_type"], row["upstream"]) == ("a_to_fp16", "Cast", ["a"])


@pytest.mark.parametrize(
    ("text", "x", "named"),
    [
        pytest.param("{ a = Mul(x, x)  y = Sqrt(a) }", [1e-5, 2e-5], "`a` (Mul, all values, up to 4e-10)",
                     id="all"),
        pytest.param("{ a = Mul(x, x)  y = Sqrt(a) }", [1e-5, 1.0, 2.0, 3.0], "`a` (Mul, 25% of the values",
                     id="a-share"),
        pytest.param("{ a = Mul(x, x)  y = Sqrt(a) }", [1e-5, *[1.0] * 19], None, id="a-few"),
        pytest.param("{ y = Softmax(x) }", [0.0, -30.0, -40.0], None, id="the-tails-of-a-softmax"),
        pytest.param("{ y = Exp(x) }", [-30.0, -40.0], "`y` (Exp, all values", id="nothing-but-tails"),
        pytest.param("{ a = Relu(x)  y = Mul(a, a) }", [-1.0, -2.0, 3.0], None, id="zeros"),
    ],
)  # fmt: skip
def test_values_that_fall_to_zero_are_told_of_where_they_are_a_good_part_of_a_tensor(
    text: str, x: list[float], named: str | None
) -> None:
    found = lost(f"g (float[n] x) => (float[n] y) {text}", x)
    assert [d.code for d in found.diagnostics] == (["fp16-underflow"] if named else [])
    if named:
        assert found.diagnostics[0].level == "warning"
        message = found.diagnostics[0].message
        assert message.startswith("values that are not zero become zero in fp16 at ")
        assert named in message


ADDS_UP = "g (float[4] x) => (float y) { b = ReduceSum<keepdims = 0>(x)  y = Sqrt(b) }"


def test_what_only_rounding_makes_too_large_is_told_if_something_broke() -> None:
    x = [16382, 16382, 16382, 16370]  # in half 16384 and 16368
    assert said(lost(ADDS_UP, x)) == []
    ((code, message),) = said(lost(ADDS_UP, x, broke=True))
    assert code == "fp16-overflow"
    assert message == (
        "by what rounding adds up to, values leave fp16's range (65504) at `b` (ReduceSum, up to 6.55e+04)"
    )


def test_where_rounding_makes_a_nan_of_values_within_the_range_its_node_is_told() -> None:
    text = "g (float[2] x) => (float[2] y) <float w = {2048}> { d = Sub(x, w)  l = Log(d)  y = Neg(l) }"
    ((code, message),) = said(lost(text, [2049.0, 2060.0], broke=True))
    assert code == "not-finite"
    assert "is first infinite or not a number at `l` (Log), in 1 of 2 values" in message


def test_bfloat16_is_judged_by_its_own_range() -> None:
    text = "g (float[n] x) => (float[n] y) { a = Mul(x, x)  y = Sqrt(a) }"
    assert said(lost(text, [1e10, 1e-10], dtype=16)) == []
    ((code, message),) = said(lost(text, [1.8434e19], dtype=16))
    assert code == "not-finite"
    assert message == "values leave bf16's range (3.38953e+38) at `a` (Mul, up to 3.4e+38)"
