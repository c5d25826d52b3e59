"""Whether values decide how large an output is."""

from __future__ import annotations

import onnx.parser
import pytest

from modelbuild.graph.extents import sized_by_values

SIZES = {
    "rows that a comparison lets through": (
        "c = Greater(x, zero)  i = NonZero(c)  y = Transpose(i)", True),
    "what is made of such rows": (
        "c = Greater(x, zero)  i = NonZero(c)  f = Cast<to = 1>(i)  y = Mul(f, f)", True),
    "a shape that follows from the input's own": (
        "s = Shape(x)  f = Reshape(x, flat)  y = Reshape(f, s)", False),
    "a size that is computed from values": (
        "m = ReduceMax<keepdims = 1>(x)  s = Cast<to = 7>(m)  y = ConstantOfShape(s)", True),
    "the places of constants": ("i = NonZero(flat)  y = Add(x, zero)", False),
    "an expansion to a size from values": (
        "m = ReduceMax<keepdims = 1>(x)  s = Cast<to = 7>(m)  y = Expand(zero, s)", True),
    "repeated as often as values say": (
        "m = ReduceMax<keepdims = 1>(x)  s = Cast<to = 7>(m)  y = Tile(x, s)", True),
    "cut where values say": (
        "m = ReduceMax<keepdims = 1>(x)  s = Cast<to = 7>(m)  y = Slice(x, start, s)", True),
    "cut at places that are given": ("y = Slice(x, start, flat)", False),
    "the best of as many as values say": (
        "m = ReduceMax<keepdims = 1>(x)  s = Cast<to = 7>(m)  y, i = TopK(x, s)", True),
    "repeated values": ("y = Tile(x, one)", False),
    "values alone": ("y = Softmax(x)", False),
}  # fmt: skip

CONSTANTS = "int64[1] flat = {-1}, int64[1] start = {0}, int64[1] one = {1}"


@pytest.mark.parametrize(("nodes", "is_sized"), SIZES.values(), ids=SIZES)
def test_an_output_is_sized_by_values_where_they_decide_its_shape(nodes: str, is_sized: bool) -> None:
    text = f"g (float[n] x) => (float y) <float zero = {{0}}, {CONSTANTS}> {{ {nodes} }}"
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 18]> {text}')
    found = sized_by_values(proto)
    assert found == ({"y"} if is_sized else set())
