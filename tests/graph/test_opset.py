"""The opset is raised to where operators take bfloat16, and no further."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.graph import files
from modelbuild.graph.files import Model
from modelbuild.graph.naming import graphs
from modelbuild.graph.opset import raised
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session
from tests.graph import graph_zoo

FLOAT, BFLOAT16 = TensorProto.FLOAT, TensorProto.BFLOAT16

CONV = """
    g (float[n, 1, 4, 4] x) => (float[n, 1, 2, 2] y) <float[1, 1, 3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}>
    { c = Conv(x, w)  y = Tanh(c) }"""
LINEAR = "g (float[2, 2] x) => (float[2, 2] y) <float[2, 2] w = {1, 2, 3, 4}> { y = MatMul(x, w) }"
IF = """
    g (float[1, 1, 4, 4] x, bool c) => (float[1, 1, 3, 3] y)
    { s = Sigmoid(x)
      y = If(c)
          <then_branch = a () => (float[1, 1, 3, 3] o) { o = MaxPool<kernel_shape = [2, 2]>(s) },
           else_branch = b () => (float[1, 1, 3, 3] p) { p = AveragePool<kernel_shape = [2, 2]>(x) }> }"""
TOP = "g (float[2, 5] x) => (float[2, 3] v, int64[2, 3] i) <int64[1] k = {3}> { v, i = TopK(x, k) }"
ZEROS = "g (int64[1] n, float[m] x) => (float[m] y) { z = ConstantOfShape(n)  y = Add(x, z) }"
MEAN = """
    g (float[1, 1, 4, 4] x) => (float[1, 4, 4] y)
    { c = MaxPool<kernel_shape = [1, 1]>(x)  y = ReduceMean<axes = [1], keepdims = 0>(c) }"""


def to_bfloat16(text: str, opset: int = 18, **options: object) -> tuple[Model, tuple[Diagnostic, ...]]:
    asked = HalfOptions(dtype=BFLOAT16, **options)
    return raised(Model(graph_zoo.parse(text, opset)), BFLOAT16, asked.blocks())


def exported(text: str, opset: int = 18) -> Model:
    """A graph as PyTorch exports it in bfloat16: of that type everywhere, valid or not."""
    proto = graph_zoo.parse(text, opset, check=False)
    for value in (*proto.graph.input, *proto.graph.output):
        if value.type.tensor_type.elem_type == FLOAT:
            value.type.tensor_type.elem_type = BFLOAT16
    for tensor in proto.graph.initializer:
        if tensor.data_type != FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor).astype(files.numpy_dtype(BFLOAT16))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return Model(proto)


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        pytest.param(LINEAR, 13, 13, id="a matrix product, which takes it from 13"),
        pytest.param(CONV, 13, 22, id="a convolution"),
        pytest.param(CONV, 22, 22, id="a convolution at an opset that is high enough"),
        pytest.param(CONV, 24, 24, id="a convolution at a higher one"),
        pytest.param(IF, 13, 22, id="pooling in branches"),
        pytest.param(ZEROS, 18, 20, id="zeros made of a shape"),
        pytest.param(MEAN, 13, 22, id="and attributes become inputs on the way"),
    ],
)
def test_the_opset_is_the_lowest_at_which_every_operator_takes_bfloat16(text, before, after):
    model, said = to_bfloat16(text, before)
    assert model.opset == after
    assert bool(said) == (after > before)
    onnx.checker.check_model(model.proto, full_check=True)
    half, _ = convert(model, HalfOptions(dtype=BFLOAT16))
    onnx.checker.check_model(half.proto, full_check=True)
    edges = {v.name for v in (*half.proto.graph.input, *half.proto.graph.output)}
    for graph in graphs(half.proto.graph):
        for node in graph.node:
            assert node.op_type != "Cast" or edges & {*node.input, *node.output}, "kept in float32"
    feeds = graph_zoo.feeds(graph_zoo.parse(text, before), size=4)
    feeds = {name: np.array([4]) if name == "n" else array for name, array in feeds.items()}
    wanted = session(Model(graph_zoo.parse(text, before))).run(None, feeds)
    np.testing.assert_allclose(session(model).run(None, feeds)[0], wanted[0], rtol=1e-5, atol=1e-6)


def test_it_says_which_operators_wanted_it_and_from_what_to_what():
    text = """
        g (int64[4] n, float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
        { z = ConstantOfShape(n)  a = Add(x, z)  c = MaxPool<kernel_shape = [1, 1]>(a)  y = Sin(c) }"""
    _, said = to_bfloat16(text)
    assert said == (
        Diagnostic(
            "opset-mismatch",
            "raised from opset 18 to 22, as bf16 needs it for MaxPool, Sin, ConstantOfShape (20)",
            level="info",
        ),
    )


def test_many_operators_are_counted_and_not_listed():
    ops = ["Acos", "Asin", "Atan", "Cos", "Sin", "Tan", "Sinh"]
    nodes = " ".join(f"t{i + 1} = {op}(t{i})" for i, op in enumerate(ops))
    _, said = to_bfloat16(f"g (float[2] t0) => (float[2] t{len(ops)}) {{ {nodes} }}")
    assert said[0].message.endswith("for Acos, Asin, Atan, Cos, Sin and 2 more")


@pytest.mark.parametrize("options", [{"op_block_list": ("Conv",)}, {"node_block_list": ("c",)}])
def test_what_stays_in_float32_asks_for_nothing(options):
    model, said = to_bfloat16(CONV, **options)
    assert (model.opset, said) == (18, ())


def test_an_opset_past_22_is_taken_only_for_an_operator_that_needs_it():
    assert to_bfloat16(TOP)[0].opset == 18  # blocked by default
    assert to_bfloat16(TOP, op_block_list=())[0].opset == 24
    assert raised(exported(TOP), BFLOAT16)[0].opset == 24


def test_an_operator_that_takes_it_nowhere_asks_for_nothing():
    text = 'g (float[2, 2] x) => (float[2, 2] y) { y = Einsum<equation = "ij->ji">(x) }'
    model, said = to_bfloat16(text)
    assert (model.opset, said) == (18, ())


def test_an_exported_graph_becomes_valid_and_its_float32_parts_ask_for_nothing():
    model, (said,) = raised(exported(CONV), BFLOAT16)
    assert said.message == "raised from opset 18 to 22, as bf16 needs it for Conv"
    onnx.checker.check_model(model.proto, full_check=True)
    assert raised(Model(graph_zoo.parse(CONV, 18)), BFLOAT16)[1] == ()


def test_weights_do_not_travel_through_the_converter_and_keep_their_order():
    def load() -> np.ndarray:
        raise AssertionError("loaded")

    proto = graph_zoo.parse(CONV.replace("}>", "}, float[1] b = {0.5}, float[4] unused = {1, 2, 3, 4}>"), 18)
    proto.graph.initializer[0].CopyFrom(files.empty_initializer("w", FLOAT, (1, 1, 3, 3)))
    before = proto.SerializeToString(deterministic=True)
    model, _ = raised(
        Model(proto, {"w": files.Weight(FLOAT, (1, 1, 3, 3), 36, load)}), BFLOAT16, HalfOptions().blocks()
    )
    assert model.opset == 22
    assert [t.name for t in model.proto.graph.initializer] == ["w", "b", "unused"]
    assert list(model.weights) == ["w"]
    assert [v.name for v in model.proto.graph.input] == ["x"]
    assert model.proto.ir_version == 10
    assert proto.SerializeToString(deterministic=True) == before


def test_nodes_keep_their_names_and_the_bytes_are_the_same_again():
    proto = graph_zoo.parse(CONV, 18)
    proto.graph.node[0].name = "backbone/conv"
    first, second = (raised(Model(proto), BFLOAT16, HalfOptions().blocks())[0].proto for _ in range(2))
    assert [n.name for n in first.graph.node] == ["backbone/conv", ""]
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("blocked", "instead"),
    [
        (None, "take `method: convert`"),
        (lambda _: False, "keep these operators in fp32 with `op_block_list`"),
    ],
    ids=["exported", "to be converted"],
)
def test_a_graph_that_cannot_be_raised_says_why_and_what_to_do(blocked, instead):
    model = exported(CONV)
    bad = onnx.helper.make_node("Add", ["y", "n"], ["z"])
    model.proto.graph.node.append(bad)
    model.proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "n"))
    with pytest.raises(StepError) as caught:
        raised(model, BFLOAT16, blocked)
    (found,) = caught.value.diagnostics
    assert (found.code, found.level) == ("opset-mismatch", "error")
    assert found.message.startswith(
        "bf16 needs opset 22 for Conv, and ONNX's version converter does not raise this graph from 18: "
    )
    assert "op_type:Add" in found.message
    assert found.hint == f"set `opset: 22`, or {instead}"
