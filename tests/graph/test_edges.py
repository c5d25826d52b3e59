"""The types of the inputs and outputs can be set on any graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from modelbuild.graph.edges import with_edge_types, with_numpy_edges
from modelbuild.graph.files import Model
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated
from tests.graph import graph_zoo

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
# A weight that is listed as an input has no edge of its own.
NAMES = [name for name in graph_zoo.GRAPHS if not name.startswith("weight-listed")]


@pytest.mark.parametrize("name", NAMES)
def test_a_half_graph_gets_float_edges_and_computes_the_same(name):
    proto = graph_zoo.graph(name)
    half, _ = convert(Model(proto), HalfOptions(keep_io_types=False))
    edges = (*proto.graph.input, *proto.graph.output)
    model = with_edge_types(half, {v.name: v.type.tensor_type.elem_type for v in edges})
    onnx.checker.check_model(model.proto, full_check=True)
    assert model.proto.graph.input == proto.graph.input
    assert model.proto.graph.output == proto.graph.output
    feeds = graph_zoo.feeds(proto)
    halved = {n: a.astype(np.float16) if a.dtype == np.float32 else a for n, a in feeds.items()}
    session(model)
    found = session(simulated(model)).run(None, feeds)
    wanted = session(simulated(half)).run(None, halved)
    for name, array, before in zip([v.name for v in edges][-len(found) :], found, wanted, strict=True):
        if name not in feeds:  # an output that is an input was never half inside
            np.testing.assert_array_equal(array, before.astype(array.dtype))


def test_casts_stand_at_the_edges_and_are_named_after_them():
    proto = graph_zoo.graph("output-used-inside")
    half, _ = convert(Model(proto), HalfOptions(keep_io_types=False))
    model = with_edge_types(half, {"x": FLOAT, "h": FLOAT, "y": HALF})
    nodes = [(n.name, list(n.input), list(n.output)) for n in model.proto.graph.node]
    assert nodes == [
        ("x_to_fp16", ["x"], ["x_fp16"]),
        ("", ["x_fp16"], ["h_fp16"]),
        ("", ["h_fp16"], ["y"]),
        ("h_to_fp32", ["h_fp16"], ["h"]),
    ]


def test_edges_that_are_right_are_left_alone():
    proto = graph_zoo.graph("linear")
    model = with_edge_types(Model(proto), {"x": FLOAT})
    assert model.proto == proto


def test_a_weight_that_is_an_output_is_cast():
    half, _ = convert(Model(graph_zoo.graph("output-is-a-weight")), HalfOptions(keep_io_types=False))
    model = with_edge_types(half, {"w": FLOAT})
    onnx.checker.check_model(model.proto, full_check=True)
    assert session(model).run(["w"], {"x": np.ones(2, np.float16)})[0].dtype == np.float32


def test_bfloat16_edges_become_float32_and_round_what_comes_in():
    proto = graph_zoo.graph("linear")
    options = HalfOptions(keep_io_types=False, dtype=TensorProto.BFLOAT16)
    half, _ = convert(Model(proto), options)
    model = with_numpy_edges(half)
    assert model.proto.graph.input == proto.graph.input
    assert model.proto.graph.output == proto.graph.output
    x = np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    (found,) = session(simulated(model)).run(None, {"x": x})
    (near,) = session(simulated(model)).run(None, {"x": x + np.float32(1e-3)})
    np.testing.assert_array_equal(found, near)


def test_edges_that_numpy_has_are_left_alone():
    half, _ = convert(Model(graph_zoo.graph("linear")), HalfOptions(keep_io_types=False))
    assert with_numpy_edges(half) is half
