"""Names in a graph: those of its bodies count, wherever they are asked for."""

from __future__ import annotations

import re

import onnx

from modelbuild.graph.naming import Names, bodies, graphs, nodes, prepared, reads, set_nodes, value_names
from tests.docs.pages import ROOT

TEXT = """
<ir_version: 9, opset_import: ["" : 18]>
m (float[n] x, bool c) => (float[n] y) {
    s = Neg (x)
    y = If <then_branch: graph = then () => (float[n] t) { t = Abs (s) },
            else_branch: graph = else () => (float[n] e) { e = Add (x, x) }> (c)
}
"""


def _graph() -> onnx.GraphProto:
    return onnx.parser.parse_model(TEXT).graph


def test_a_graph_is_walked_with_what_its_nodes_carry() -> None:
    graph = _graph()
    assert [g.name for g in graphs(graph)] == ["m", "then", "else"]
    assert [n.op_type for n in nodes(graph)] == ["Neg", "Abs", "Add", "If"]
    assert [g.name for n in graph.node for g in bodies(n)] == ["then", "else"]


def test_a_node_reads_what_its_bodies_read() -> None:
    _, branch = _graph().node
    assert {"c", "s", "x"} <= reads(branch)
    assert value_names(_graph()) == {"x", "c", "s", "y", "t", "e"}


def test_a_new_name_is_counted_on_until_it_is_free() -> None:
    names = Names({"w", "w_1"})
    assert [names.take("w"), names.take("w"), names.take("v")] == ["w_2", "w_3", "v"]


def test_a_graph_is_given_other_nodes_some_of_them_its_own() -> None:
    graph = _graph()
    set_nodes(graph, [onnx.helper.make_node("Abs", ["x"], ["a"]), graph.node[0]])
    assert [n.op_type for n in graph.node] == ["Abs", "Neg"]


def test_bodies_that_use_one_name_for_two_tensors_get_a_name_for_each() -> None:
    proto = onnx.parser.parse_model(TEXT.replace("(float[n] e) { e =", "(float[n] t) { t ="))
    made = prepared(proto)
    (_, branch) = made.graph.node
    outs = [body.output[0].name for body in bodies(branch)]
    assert len({*outs}) == 2
    assert [body.node[-1].output[0] for body in bodies(branch)] == outs
    assert made.graph.output[0].name == "y"


def test_only_naming_looks_for_the_graphs_that_a_node_carries() -> None:
    homes = [
        path.name
        for path in (ROOT / "modelbuild").rglob("*.py")
        if re.search(r"attribute\.graphs|AttributeProto\.GRAPH", path.read_text())
    ]
    assert sorted(homes) == ["files.py", "naming.py"]  # files walks over every tensor of an attribute


def test_shapes_are_inferred_in_one_place() -> None:
    homes = [p.name for p in (ROOT / "modelbuild").rglob("*.py") if "infer_shapes(" in p.read_text()]
    assert homes == ["shapes.py"]
