"""One session, every candidate: the same numbers as the converted file's own simulation."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from modelbuild.graph import interface
from modelbuild.graph.files import Model
from modelbuild.graph.naming import graphs, label
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated
from modelbuild.mixed.switches import Switches
from tests.graph import graph_zoo

RNG = np.random.default_rng(0)


def _chosen(proto: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Some sets of nodes: none, all, and random ones."""
    names = sorted({label(n) for g in graphs(proto.graph) for n in g.node})
    picks = [tuple(n for n in names if RNG.random() < 0.5) for _ in range(4)]
    return [(), tuple(names), *picks]


@pytest.mark.parametrize("keep", [True, False], ids=["float-edges", "half-edges"])
@pytest.mark.parametrize("name", graph_zoo.GRAPHS)
def test_a_candidate_computes_what_its_file_would(name: str, keep: bool) -> None:
    proto = graph_zoo.graph(name)
    model, feeds = Model(proto), graph_zoo.feeds(proto)
    interface.set_initializers_as_inputs(model, False)
    feeds = {v.name: feeds[v.name] for v in proto.graph.input}
    switches = Switches(model, HalfOptions(keep_io_types=keep))
    for kept in _chosen(proto):
        half, _ = convert(model, HalfOptions(keep_io_types=keep, node_block_list=kept))
        types = {v.name: v.type.tensor_type.elem_type for v in half.proto.graph.input}
        given = {n: a.astype(onnx.helper.tensor_dtype_to_np_dtype(types[n])) for n, a in feeds.items()}
        wanted = session(simulated(half)).run(None, given)
        found = switches.run(feeds, switches.rounded(switches.placement(kept)))
        for got, want in zip(found, wanted, strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(
                got.astype(np.float64), want.astype(np.float64), rtol=4e-3, atol=1e-3, err_msg=f"{kept}"
            )


def test_with_nothing_rounded_it_is_the_float32_graph() -> None:
    proto = graph_zoo.graph("conv-batch-norm-relu")
    feeds = graph_zoo.feeds(proto)
    (found,) = Switches(Model(proto), HalfOptions()).run(feeds, ())
    (wanted,) = session(Model(proto)).run(None, feeds)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)


CHAIN = """
    g (float[2, 64] x) => (float[1, 1] y)
    { a = Mul(x, x)  s = Transpose(a)  b = ReduceSum<keepdims = 1>(s)  y = Sqrt(b) }"""


def test_a_use_needs_what_makes_its_values_and_what_reads_them() -> None:
    switches = Switches(Model(graph_zoo.parse(CHAIN, opset=18)), HalfOptions())
    needs = {(u.tensor, u.node): n for u, n in zip(switches.uses, switches.needs, strict=True)}
    assert needs["s", "b"] == {"a", "b"}  # a Transpose goes along by itself
    assert needs["b", "y"] == {"b", "y"}
    assert needs["y", ""] == {"y"}


def test_half_edges_round_whatever_is_kept_inside() -> None:
    switches = Switches(Model(graph_zoo.parse(CHAIN, opset=18)), HalfOptions(keep_io_types=False))
    needs = {(u.tensor, u.node): n for u, n in zip(switches.uses, switches.needs, strict=True)}
    assert needs["x", "a"] is None
    assert needs["y", ""] is None


def test_a_weight_is_rounded_only_for_the_nodes_that_are_half() -> None:
    text = """
        g (float[1, 1] x) => (float[1, 1] y, float[1, 1] z)
        <float[1, 1] w = {0.1}>
        { y = Mul(x, w)  z = Sub(x, w) }"""
    switches = Switches(Model(graph_zoo.parse(text, opset=18)), HalfOptions())
    one = np.ones((1, 1), np.float32)
    y, z = switches.run({"x": one}, switches.rounded(switches.placement(("y",))))
    assert y == np.float32(0.1)
    assert z == np.float32(np.float16(1 - np.float32(np.float16(0.1))))
