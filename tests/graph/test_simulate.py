"""The simulation rounds what hardware would round, and nothing else."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from modelbuild.graph import files, opset
from modelbuild.graph.files import Model
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import CUDA, has_cuda, session
from modelbuild.graph.simulate import simulated, simulation
from modelbuild.machine import toolchain
from tests.graph import graph_zoo, half_layers, half_oracle

HALF, FLOAT, BFLOAT16 = TensorProto.FLOAT16, TensorProto.FLOAT, int(TensorProto.BFLOAT16)


def half_of(text: str) -> onnx.ModelProto:
    """A graph that holds half where the text says float; ``scales`` (of a Resize) stay float."""
    proto = graph_zoo.parse(text, check=False)
    _halve(proto.graph)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _halve(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == FLOAT:
            value.type.tensor_type.elem_type = HALF
    attributes = [a for node in graph.node for a in node.attribute]
    for tensor in (*graph.initializer, *(a.t for a in attributes if a.HasField("t"))):
        if tensor.data_type == FLOAT and tensor.name != "scales":
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for attribute in attributes:
        _halve(attribute.g)


def run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    model = simulated(Model(proto))
    onnx.checker.check_model(model.proto, full_check=True)
    return session(model).run(None, feeds)


def roundings(model: Model) -> list[str]:
    """The tensors that are rounded, in the graph's order."""
    casts = [n for n in model.proto.graph.node if n.op_type == "Cast"]
    return [n.input[0] for n in casts if HALF in [a.i for a in n.attribute if a.name == "to"]]


# ---- against numpy -----------------------------------------------------------------------------

HALF_GRAPHS = {
    "casts": """
        g (float[2, 3] x, int64[2, 3] i, uint8[2, 3] b) => (float[2, 3] y, int64[2, 3] j, double[2, 3] d)
        { f = Cast<to = 10>(i)  c = Cast<to = 10>(b)  h = Mul(f, c)  w = Cast<to = 1>(x)  v = Tanh(w)
          u = Cast<to = 10>(v)  s = Mul(u, h)  y = Cast<to = 10>(s)
          j = Cast<to = 7>(s)  d = Cast<to = 11>(s) }""",
    "types-in-attributes": """
        g (int64[1] n, float[3] x) => (float[m] y)
        { c = ConstantOfShape<value = float[1] {0.1}>(n)  k = Constant<value = float[1] {0.3}>()
          l = CastLike(n, x)  a = Add(c, k)  b = Mul(a, l)  s = Sigmoid(x)  y = Concat<axis = 0>(b, s) }""",
    "if": """
        g (float[2] x, bool c) => (float[2] y)
        { s = Sigmoid(x)
          r = If(c) <then_branch = a () => (float[2] o) { t = Mul(s, s)  o = Add(t, x) },
                     else_branch = b () => (float[2] o) { o = Identity(s) }>
          y = Exp(r) }""",
    "loop": """
        g (float[2] x, int64 n) => (float[2] y, float[m, 2] all)
        <bool go = {1}>
        { y, all = Loop(n, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t, float[2] o)
            { d = Identity(c)  f = Cast<to = 10>(i)  m = Sigmoid(s)  t = Add(m, f)  o = Sqrt(t) }> }""",
    "sequences": """
        g (float[4, 2] x) => (float[2, 2] y)
        <int64 two = {2}, int64 one = {1}>
        { h = Sigmoid(x)  s = SplitToSequence<axis = 0>(h, two)  e = SequenceAt(s, one)  y = Tanh(e) }""",
    "outputs-that-are-inputs-or-used-inside": """
        g (float[2, 3] x) => (float[2, 3] x, float[2, 3] h, float[3, 2] t, float[2, 3] y)
        { h = Sigmoid(x)  t = Transpose<perm = [1, 0]>(h)  y = Tanh(h) }""",
    "statistics": """
        g (float[2, 8] x) => (float[2, 8] y, float[2] m, float[2, 8] s, float[2, 8] z)
        <float[8] w = {1, 0.5, 2, 1.5, 0.3, 0.1, 0.9, 1.1}, int64[1] axis = {1}, int64 one = {1}>
        { y = LayerNormalization(x, w)  m = ReduceMean<keepdims = 0>(x, axis)  s = Softmax(x)
          z = CumSum(x, one) }""",
}  # fmt: skip


@pytest.mark.parametrize("name", HALF_GRAPHS)
def test_a_graph_exported_in_half_is_simulated_as_numpy_computes_it(name):
    proto = half_of(HALF_GRAPHS[name])
    feeds = graph_zoo.feeds(proto, size=4)
    found = run(proto, feeds)
    for array, wanted in zip(found, half_oracle.run(proto, feeds), strict=True):
        half_oracle.assert_agree(array, np.asarray(wanted))


# What ONNX Runtime likes to fuse; a rounding that a fusion swallowed would show in the values.
FUSED = {
    "matmul-add": """
        g (float[5, 8] x) => (float[5, 8] y) <float[8, 8] w = {W}, float[8] b = {B}>
        { h = MatMul(x, w)  y = Add(h, b) }""",
    "gemm-relu": """
        g (float[5, 8] x) => (float[5, 8] y) <float[8, 8] w = {W}, float[8] b = {B}>
        { h = Gemm(x, w, b)  y = Relu(h) }""",
    "conv-add-relu": """
        g (float[1, 1, 4, 4] x) => (float[1, 1, 3, 3] y)
        <float[1, 1, 2, 2] w = {0.1, 0.2, 0.3, 0.4}, float[1, 1, 1, 1] b = {0.123}>
        { h = Conv(x, w)  a = Add(h, b)  y = Relu(a) }""",
    "layer-normalization-in-pieces": """
        g (float[5, 8] x) => (float[5, 8] y)
        <int64[1] axis = {-1}, float two = {2.0}, float eps = {0.001}, float[8] w = {B}, float[8] b = {B}>
        { m = ReduceMean(x, axis)  d = Sub(x, m)  q = Pow(d, two)  v = ReduceMean(q, axis)  e = Add(v, eps)
          s = Sqrt(e)  n = Div(d, s)  g1 = Mul(n, w)  y = Add(g1, b) }""",
    "gelu-in-pieces": """
        g (float[5, 8] x) => (float[5, 8] y)
        <float root = {1.41421356}, float one = {1.0}, float half = {0.5}>
        { d = Div(x, root)  e = Erf(d)  a = Add(e, one)  m = Mul(x, a)  y = Mul(m, half) }""",
    "attention": """
        g (float[1, 5, 8] x) => (float[1, 5, 8] y)
        <float[8, 8] w = {W}, float root = {2.8284}>
        { q = MatMul(x, w)  k = Transpose<perm = [0, 2, 1]>(x)  a = MatMul(q, k)  d = Div(a, root)
          s = Softmax(d)  y = MatMul(s, x) }""",
}  # fmt: skip


def fused(name: str) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    text = FUSED[name]
    for letter, count in (("W", 64), ("B", 8)):
        values = ", ".join(f"{v:.4f}" for v in rng.normal(0, 0.4, count))
        text = text.replace(f"{{{letter}}}", f"{{{values}}}")
    return half_of(text)


@pytest.mark.parametrize("name", FUSED)
def test_onnx_runtime_keeps_every_rounding_at_its_highest_level(name, tmp_path):
    proto = fused(name)
    feeds = graph_zoo.feeds(proto)
    found = run(proto, feeds)
    for array, wanted in zip(found, half_oracle.run(proto, feeds), strict=True):
        half_oracle.assert_agree(array, np.asarray(wanted))
    model = simulated(Model(proto))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    optimized = Model(onnx.load(options.optimized_model_filepath))
    assert len(roundings(optimized)) == len(roundings(model))


def test_the_cpu_run_of_the_file_itself_would_not_have_shown_it():
    proto = fused("layer-normalization-in-pieces")
    feeds = {"x": np.float16(np.random.default_rng(0).normal(size=(5, 8)) * 200)}
    (wanted,) = half_oracle.run(proto, feeds)
    (itself,) = session(Model(proto)).run(None, feeds)
    (found,) = run(proto, feeds)
    assert (itself == wanted).mean() < 0.8
    assert (found == wanted).mean() > 0.9


# ---- what is rounded, and what is not ----------------------------------------------------------


def test_overflow_gives_infinity_where_the_cpu_run_of_the_file_gives_a_number():
    proto = half_of(
        """g (float[1, 2] x) => (float[1, 2] y)
        { q = Mul(x, x)  y = Sqrt(q) }"""
    )
    feeds = {"x": np.array([[300.0, 3.0]], np.float16)}
    assert session(Model(proto)).run(None, feeds)[0].tolist() == [[300.0, 3.0]]
    assert run(proto, feeds)[0].tolist() == [[np.inf, 3.0]]


def test_values_fall_to_zero_and_to_subnormals_as_half_does():
    proto = half_of("g (float[3] x) => (float[3] y) <float c = {0.001}> { m = Mul(x, c)  y = Neg(m) }")
    x = np.array([1e-5, 1e-3, 1.0], np.float16)
    product = (x.astype(np.float32) * np.float32(np.float16(0.001))).astype(np.float16)
    np.testing.assert_array_equal(run(proto, {"x": x})[0], -product)
    assert product[0] == 0 < product[1] < 6.2e-5


def test_onnx_runtime_rounds_to_bfloat16_to_nearest_ties_to_even_and_to_infinity():
    high = np.arange(0x10000, dtype=np.uint32) << 16
    bits = np.concatenate([high | low for low in (0x0000, 0x7FFF, 0x8000, 0x8001, 0xFFFF)])
    x = bits.view(np.float32)
    x = x[~np.isnan(x)]
    proto = graph_zoo.parse("g (float[n] x) => (float[n] y) <float one = {1}> { y = Mul(x, one) }")
    model, _ = convert(Model(proto), HalfOptions(dtype=BFLOAT16))
    (found,) = run(model.proto, {"x": x})
    with np.errstate(over="ignore"):
        wanted = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(found.view(np.uint32), wanted.view(np.uint32))
    assert np.isinf(found).sum() > np.isinf(x).sum()
    assert np.isnan(run(model.proto, {"x": np.array([np.nan], np.float32)})[0]).all()


MASKS = {
    "a-constant": """
        g (float[1, 2, 4] scores, int64[1, 1, 4] mask) => (float[1, 2, 4] y)
        <float one = {1.0}, float low = {-3.4028235e38}>
        { m = Cast<to = 1>(mask)  n = Sub(one, m)  p = Mul(n, low)  c = Add(scores, p)
          y = Softmax<axis = -1>(c) }""",
    "selected": """
        g (float[1, 2, 4] scores, int64[1, 1, 4] mask) => (float[1, 2, 4] y)
        <float low = {-3.4028235e38}>
        { m = Cast<to = 9>(mask)  c = Where(m, scores, low)  y = Softmax<axis = -1>(c) }""",
    "filled-at-the-size-of-the-input": """
        g (float[1, 2, 4] scores, int64[1, 1, 4] mask) => (float[1, 2, 4] y)
        { m = Cast<to = 9>(mask)  s = Shape(scores)
          f = ConstantOfShape<value = float[1] {-3.4028235e38}>(s)
          c = Where(m, scores, f)  y = Softmax<axis = -1>(c) }""",
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("mask", [[1, 1, 0, 0], [0, 0, 0, 0]], ids=["half-masked", "all-masked"])
def test_a_mask_of_float32s_lowest_stays_finite_in_bfloat16(name, mask):
    proto = graph_zoo.parse(MASKS[name], 18)
    options = HalfOptions(dtype=BFLOAT16)
    model, _ = opset.raised(Model(proto), BFLOAT16, options.blocks())
    model, said = convert(model, options)
    assert said == ()  # every low number gives the same
    scores = np.array([[[1.0, 2.0, -3.0, 0.5], [0.1, -9.0, 4.0, 0.0]]], np.float32)
    feeds = {"scores": scores, "mask": np.array([[mask]])}
    (wanted,) = session(Model(proto)).run(None, feeds)
    (found,) = session(simulated(model)).run(None, feeds)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, wanted, rtol=2e-2, atol=1e-6)


def test_nodes_kept_in_float32_stay_exact():
    model, _ = convert(
        Model(
            graph_zoo.parse("g (float[3] x) => (float[3] y) <float w = {0.1}> { h = Mul(x, w)  y = Tanh(h) }")
        ),
        HalfOptions(node_block_list=("h", "y")),
    )
    assert roundings(simulated(model)) == []
    x = np.array([0.1, 0.2, 0.3], np.float32)
    np.testing.assert_allclose(
        session(simulated(model)).run(None, {"x": x})[0], np.tanh(x * np.float32(0.1)), rtol=1e-6
    )


def test_moving_values_rounds_nothing():
    proto = half_of(
        """g (float[2, 3] x) => (float[2, 4] y) <int64[1] zero = {0}, int64[1] two = {2}>
        { h = Sigmoid(x)  t = Transpose<perm = [1, 0]>(h)  s = Slice(t, zero, two)  r = Relu(s)  n = Neg(r)
          c = Concat<axis = 1>(n, n)  m = Max(c, c)  e = Exp(m)  y = Identity(e) }"""
    )
    assert roundings(simulated(Model(proto))) == ["h_unrounded", "e_unrounded", "y_fp32"]


@pytest.mark.parametrize(
    ("text", "rounded"),
    [
        ('{ y = Resize<mode = "nearest">(x, , scales) }', ["y_fp32"]),
        ('{ y = Resize<mode = "linear">(x, , scales) }', ["y_unrounded"]),
    ],
)
def test_a_resize_rounds_only_what_it_interpolates(text, rounded):
    proto = half_of(
        "g (float[1, 1, 2, 2] x) => (float[1, 1, 4, 4] y) <float[4] scales = {1, 1, 2, 2}>" + text
    )
    assert roundings(simulated(Model(proto))) == rounded


@pytest.mark.parametrize("text", ["y = Clip<max = 0.1>(x)", "y = Pad<pads = [0, 1], value = 0.1>(x)"])
def test_a_float32_attribute_of_an_old_opset_is_rounded(text):
    proto = graph_zoo.parse(f"g (float[2] x) => (float[m] y) {{ {text} }}", 10, check=False)
    _halve(proto.graph)
    (found,) = run(proto, {"x": np.ones(2, np.float16)})
    assert np.float16(0.1) in found
    assert roundings(simulated(Model(proto))) == ["y_unrounded"]


def test_the_interface_is_the_files():
    proto = half_of(
        "g (float[2, 3] x, int64[2] i) => (float[2, 3] y, int64[2] j) { y = Tanh(x)  j = Add(i, i) }"
    )
    model = simulated(Model(proto))
    assert model.proto.graph.input == proto.graph.input
    assert model.proto.graph.output == proto.graph.output


def test_weights_stay_half_and_are_not_loaded():
    def load() -> np.ndarray:
        raise AssertionError("loaded")

    weight = files.Weight(HALF, (6400,), 12800, load)
    proto = half_of("g (float[64] x) => (float[64] y) <float[1] w = {0.5}> { y = Mul(x, w) }")
    proto.graph.initializer[0].CopyFrom(files.empty_initializer("w", HALF, (6400,)))
    model = simulated(Model(proto, {"w": weight}))
    assert model.weights == {"w": weight}


def test_a_rounded_tensor_can_be_watched_before_and_after():
    proto = half_of("g (float[1] x) => (float[1] y) { h = Exp(x)  t = Neg(h)  y = Exp(t) }")
    found = simulation(Model(proto))
    assert found.before == {"h": "h_unrounded", "y": "y_unrounded"}
    assert found.after == {"x": "x_fp32", "h": "h", "t": "t", "y": "y_fp32"}


def test_without_rounding_the_same_graph_computes_in_float32():
    proto = half_of(
        """g (float[2] x, int64[2] i) => (float[2] y)
        { h = Mul(x, x)  f = Cast<to = 10>(i)  m = Add(h, f)  t = Neg(m)  y = Sqrt(h) }"""
    )
    found = simulation(Model(proto), rounding=False)
    assert found.before == {"h": "h", "f": "f", "m": "m", "y": "y_fp32"}
    assert found.halves == dict.fromkeys(("x", "h", "f", "m", "t", "y"), HALF)
    assert roundings(found.model) == ["y_fp32"]  # the file's own output
    x = np.array([300.0, 1e-5], np.float16)
    feeds = {"x": x, "i": np.array([1, 70000])}
    wide = x.astype(np.float32)
    assert session(found.model).run(None, feeds)[0].tolist() == x.tolist()
    found.model.proto.graph.output.append(onnx.ValueInfoProto(name="m"))
    wanted = wide * wide + np.float32([1, 70000])
    np.testing.assert_array_equal(session(found.model).run(["m"], feeds)[0], wanted)


def test_a_weight_becomes_float32_right_before_its_first_user():
    proto = half_of(
        """g (float[2] x) => (float[2] y) <float a = {0.5}, float b = {0.25}>
        { h = Mul(x, a)  k = Mul(h, b)  y = Mul(k, a) }"""
    )
    nodes = [node.output[0] for node in simulated(Model(proto)).proto.graph.node]
    assert nodes.index("a_fp32") < nodes.index("h") < nodes.index("b_fp32") == nodes.index("k_unrounded") - 1


# ---- against PyTorch ---------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", half_layers.LAYERS)
def test_the_simulated_error_is_the_error_of_pytorchs_half_modules(kind, precision):
    layer = half_layers.LAYERS[kind]
    case = half_layers.case(layer, precision)
    found = case.simulated()
    error, true_error = case.error(found), case.error(case.true)
    low, high = layer.ratio
    assert low * true_error <= error <= high * true_error, (error, true_error)
    assert case.error(found, case.true) < 1.5 * max(error, true_error)


@pytest.mark.gpu
@pytest.mark.skipif(toolchain.gpu() is None, reason="needs a GPU")
@pytest.mark.skipif(not has_cuda(), reason="needs onnxruntime-gpu")
def test_the_simulated_error_is_the_error_on_a_gpu():
    """Half storage and float32 accumulation is what CUDA's kernels do, but for what they fuse."""
    far = {}
    for kind, layer in half_layers.LAYERS.items():
        case = half_layers.case(layer)
        (measured,) = session(case.model, providers=CUDA, as_written=True).run(None, case.feeds)
        found = case.simulated()
        error, true_error, between = case.error(found), case.error(measured), case.error(found, measured)
        near = true_error / 2.5 <= error <= 2.5 * true_error
        if not (near and between < 2 * max(error, true_error)):
            far[kind] = (error, true_error, between)
    assert not far


def test_a_node_of_the_file_may_be_called_like_a_tensor():
    proto = half_of("g (float[2] x) => (float[2] y) { h = Sqrt(x) y = Relu(h) }")
    proto.graph.node[1].name = "h"
    model = simulated(Model(proto))
    names = [node.name for node in model.proto.graph.node if node.name]
    assert len(names) == len(set(names))
    session(model)  # ONNX Runtime takes no two nodes of one name
