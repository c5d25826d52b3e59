"""Graphs of float64, float16 or bfloat16 as graphs of float32, with their edges as they were."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from modelbuild.graph.files import Model, Weight, empty_initializer
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated
from modelbuild.graph.widening import FLOATS, as_float32, held, main_type

DOUBLE, FLOAT, HALF = int(TensorProto.DOUBLE), int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
W = np.random.default_rng(0).normal(size=(4, 3))


def _model(dtype: int) -> Model:
    """An If inside, a Constant, a Cast, a ConstantOfShape, all of one type."""
    name = TensorProto.DataType.Name(dtype).lower()
    text = f"""<ir_version: 9, opset_import: ["": 18]>
    g ({name}[n, 4] x) => ({name}[n, 3] y, {name}[n, 4] z) {{
      h = MatMul(x, w)  i = Shape(h)  f = Cast<to = {dtype}>(i)  l = ReduceSum<keepdims = 0>(f)
      o = ConstantOfShape<value = float[1] {{0.5}}>(i)
      c = Constant<value = bool {{1}}>()
      k = If(c) <then_branch = yes () => ({name}[n, 3] a) {{ a = Add(h, o) }},
                 else_branch = no () => ({name}[n, 3] b) {{ b = Sub(h, o) }}>
      y = Mul(k, l)  z = Neg(x)
    }}"""
    proto = onnx.parser.parse_model(text)
    own = onnx.helper.tensor_dtype_to_np_dtype(dtype)
    (filled,) = [n for n in proto.graph.node if n.op_type == "ConstantOfShape"]
    filled.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(np.full(1, 0.5, own)))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(W.astype(own), "w"))
    return Model(proto)


@pytest.mark.parametrize("dtype", [DOUBLE, HALF], ids=["double", "half"])
def test_a_graph_of_other_floats_computes_the_same_as_one_of_float32(dtype: int) -> None:
    model = _model(dtype)
    assert main_type(model.proto) == dtype
    wide = as_float32(model, FLOATS - {FLOAT})
    onnx.checker.check_model(wide.proto, full_check=True)
    assert wide.proto.graph.input == model.proto.graph.input
    assert [v.type for v in wide.proto.graph.output] == [v.type for v in model.proto.graph.output]
    assert main_type(wide.proto) == FLOAT
    x = np.random.default_rng(1).normal(size=(2, 4)).astype(onnx.helper.tensor_dtype_to_np_dtype(dtype))
    y, z = session(wide).run(None, {"x": x})
    np.testing.assert_allclose(y, (x.astype(np.float64) @ W + 0.5) * 5, rtol=3e-3, atol=3e-2)
    np.testing.assert_array_equal(z, -x if dtype == HALF else -x.astype(np.float32).astype(np.float64))


def test_a_graph_of_float64_becomes_half_inside_and_keeps_its_edges() -> None:
    half, _ = convert(as_float32(_model(DOUBLE), {DOUBLE}), HalfOptions())
    assert {t.data_type for t in half.proto.graph.initializer if t.name.startswith("w")} == {HALF}
    assert {DOUBLE, HALF} <= held(half.proto)
    x = np.random.default_rng(1).normal(size=(2, 4))
    y, _ = session(simulated(half)).run(None, {"x": x})
    assert y.dtype == np.float64
    assert 1e-6 < np.abs(y - (x @ W + 0.5) * 5).max() < 5e-2


def test_a_large_weight_is_widened_when_it_is_loaded_and_no_further_than_float32_goes() -> None:
    model = _model(DOUBLE)
    values = np.full((4, 3), 1e300)
    values[0, 0] = np.inf
    model.proto.graph.initializer[0].CopyFrom(empty_initializer("w", DOUBLE, (4, 3)))
    model.weights["w"] = Weight(DOUBLE, (4, 3), values.nbytes, lambda: values)
    weight = as_float32(model, {DOUBLE}).weights["w"]
    loaded = weight.load()
    assert (weight.dtype, weight.nbytes, loaded.dtype) == (FLOAT, 48, np.float32)
    assert loaded[1, 1] == np.finfo(np.float32).max
    assert np.isposinf(loaded[0, 0])


def test_a_part_in_float64_does_not_make_a_model_one_of_float64() -> None:
    model = _model(FLOAT)
    model.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(2), "part"))
    assert main_type(model.proto) == FLOAT
