"""One session, every candidate: the same numbers as the converted file's own simulation."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from modelbuild.graph import interface
from modelbuild.graph.files import Model
from modelbuild.graph.mixed.roundings import Roundings
from modelbuild.graph.mixed.switches import Switches
from modelbuild.graph.naming import graphs, label
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated
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
    roundings = Roundings(model, HalfOptions(keep_io_types=keep))
    switches = Switches(roundings)
    for kept in _chosen(proto):
        half, _ = convert(model, HalfOptions(keep_io_types=keep, node_block_list=kept))
        types = {v.name: v.type.tensor_type.elem_type for v in half.proto.graph.input}
        given = {n: a.astype(onnx.helper.tensor_dtype_to_np_dtype(types[n])) for n, a in feeds.items()}
        wanted = session(simulated(half)).run(None, given)
        found = switches.run(feeds, roundings.rounded(kept))
        for got, want in zip(found, wanted, strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(
                got.astype(np.float64), want.astype(np.float64), rtol=4e-3, atol=1e-3, err_msg=f"{kept}"
            )


def test_with_nothing_rounded_it_is_the_float32_graph() -> None:
    proto = graph_zoo.graph("conv-batch-norm-relu")
    feeds = graph_zoo.feeds(proto)
    (found,) = Switches(Roundings(Model(proto), HalfOptions())).run(feeds, ())
    (wanted,) = session(Model(proto)).run(None, feeds)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)


CHAIN = """
    g (float[2, 64] x) => (float[1, 1] y)
    { a = Mul(x, x)  s = Transpose(a)  b = ReduceSum<keepdims = 1>(s)  y = Sqrt(b) }"""


def _needs(options: HalfOptions) -> dict[tuple[str, str], frozenset[str] | None]:
    roundings = Roundings(Model(graph_zoo.parse(CHAIN, opset=18)), options)
    return {(u.tensor, u.node): n for u, n in zip(roundings.uses, roundings.needs, strict=True)}


def test_a_use_needs_what_makes_its_values_and_what_reads_them() -> None:
    needs = _needs(HalfOptions())
    assert needs["s", "b"] == {"a", "b"}  # a Transpose goes along by itself
    assert needs["b", "y"] == {"b", "y"}
    assert needs["y", ""] == {"y"}


def test_half_edges_round_whatever_is_kept_inside() -> None:
    needs = _needs(HalfOptions(keep_io_types=False))
    assert needs["x", "a"] is None
    assert needs["y", ""] is None


def test_a_weight_is_rounded_only_for_the_nodes_that_are_half() -> None:
    text = """
        g (float[1, 1] x) => (float[1, 1] y, float[1, 1] z)
        <float[1, 1] w = {0.1}>
        { y = Mul(x, w)  z = Sub(x, w) }"""
    roundings = Roundings(Model(graph_zoo.parse(text, opset=18)), HalfOptions())
    one = np.ones((1, 1), np.float32)
    y, z = Switches(roundings).run({"x": one}, roundings.rounded(("y",)))
    assert y == np.float32(0.1)
    assert z == np.float32(np.float16(1 - np.float32(np.float16(0.1))))


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_the_state_of_a_recurrent_node_is_rounded_in_every_time_step_unless_it_is_kept(op: str) -> None:
    proto = _recurrent(op)
    model, roundings = Model(proto), Roundings(Model(proto), HalfOptions())
    feeds = {"x": RNG.normal(size=(200, 1, 4)).astype(np.float32)}
    (state,) = [u for u in roundings.uses if u.kind == "state"]
    assert state.node == "cell"
    switches = Switches(roundings)
    for kept in ((), ("cell",)):
        half, _ = convert(model, HalfOptions(node_block_list=kept))
        (want,) = session(simulated(half)).run(None, feeds)
        (got,) = switches.run(feeds, roundings.rounded(kept))
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)
    (plain,), (exact,) = (switches.run(feeds, rounded) for rounded in (roundings.rounded(()), ()))
    stateless = roundings.rounded(()) - {roundings.uses.index(state)}
    (without,) = switches.run(feeds, stateless)
    assert np.linalg.norm(plain - exact) > np.linalg.norm(without - exact)


def _recurrent(op: str) -> onnx.ModelProto:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    weights = {"w": (1, gates * 8, 4), "r": (1, gates * 8, 8), "b": (1, gates * 16)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(op, ["x", "w", "r", "b"], ["y"], "cell", hidden_size=8)], "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["time", 1, 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(RNG.normal(size=s).astype(np.float32) / 3, n)
         for n, s in weights.items()],
    )  # fmt: skip
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
