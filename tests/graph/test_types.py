"""Types follow from schemas; ONNX's own inference is the oracle."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from modelbuild.graph.naming import graphs, prepared
from modelbuild.graph.types import tensor_types, type_string
from tests.graph import graph_zoo


@pytest.mark.parametrize("opset", [13, 19, 25])
def test_types_are_those_that_onnx_infers(opset):
    for name in graph_zoo.GRAPHS:
        if opset < graph_zoo.SINCE.get(name, 13):
            continue
        proto = prepared(graph_zoo.graph(name, opset))
        found = tensor_types(proto, infer=False)
        for graph in graphs(onnx.shape_inference.infer_shapes(proto).graph):
            for value in (*graph.value_info, *graph.input, *graph.output):
                wanted = type_string(value.type)
                assert found.get(value.name, wanted) == wanted, (name, value.name)
        made = {n for g in graphs(proto.graph) for node in g.node for n in node.output if n}
        if "sequence" not in name and name != "operator-of-another-domain":
            assert made <= found.keys(), (name, made - found.keys())


def test_sequences_are_asked_of_inference():
    proto = prepared(graph_zoo.graph("sequences"))
    assert "s" not in tensor_types(proto, infer=False)
    assert tensor_types(proto)["s"] == "seq(tensor(float))"


def test_a_stale_value_info_is_not_believed():
    proto = graph_zoo.graph("linear")
    proto.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.INT8, [3]))
    assert tensor_types(proto)["h"] == "tensor(float)"


def test_an_unknown_operators_type_follows_from_its_users():
    proto = graph_zoo.parse(
        "g (float[2] x) => (float[2] y) { h = mine.odd(x)  k = Relu(h)  y = Add(k, x) }", check=False
    )
    assert tensor_types(proto, infer=False)["h"] == "tensor(float)"


def test_branches_that_reuse_names_are_told_apart():
    proto = graph_zoo.graph("if-with-names-used-twice")
    names = [n for g in graphs(prepared(proto).graph) for node in g.node for n in node.output]
    assert sorted(names) == ["o", "o_1", "r", "s", "t", "t_1", "y"]
    assert [v.name for v in prepared(proto).graph.output] == ["y"]
