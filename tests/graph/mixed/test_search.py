"""The search, on small graphs whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnx.helper
import pytest
from onnx import TensorProto

from modelbuild.graph.files import Model
from modelbuild.graph.mixed.choices import before_choices
from modelbuild.graph.mixed.roundings import Roundings
from modelbuild.graph.mixed.search import Infeasible, Search, SearchResult, Trial
from modelbuild.graph.mixed.switches import Switches
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated


def _model(nodes: Sequence[onnx.NodeProto], weights: dict[str, np.ndarray] | None = None) -> Model:
    graph = onnx.helper.make_graph(
        nodes, "g",
        [onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(a, n) for n, a in (weights or {}).items()],
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 18)]
    return Model(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9))


def _node(op: str, given: str, made: str, **attributes: object) -> onnx.NodeProto:
    return onnx.helper.make_node(op, given.split(), [made], f"n_{made}", **attributes)


def _layers(count: int) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """``x -> tanh(x W0) -> tanh(. W1) -> ...``: nothing that half precision minds."""
    rng = np.random.default_rng(0)
    nodes, weights, last = [], {}, "x"
    for i in range(count):
        weights[f"w{i}"] = rng.normal(size=(64, 64)).astype(np.float32) / 8
        nodes += [_node("MatMul", f"{last} w{i}", f"m{i}"), _node("Tanh", f"m{i}", f"t{i}")]
        last = f"t{i}"
    return nodes, weights


def _norm(given: str, made: str, eps: str) -> list[onnx.NodeProto]:
    """A root mean square whose squares leave half's range."""
    return [
        _node("Mul", f"{given} thousand", f"{made}_big"),
        _node("Mul", f"{made}_big {made}_big", f"{made}_square"),
        _node("ReduceMean", f"{made}_square", f"{made}_mean", keepdims=1),
        _node("Add", f"{made}_mean {eps}", f"{made}_eps"),
        _node("Sqrt", f"{made}_eps", f"{made}_root"),
        _node("Div", f"{made}_big {made}_root", made),
    ]


def _search(model: Model, tolerance: float, options: HalfOptions | None = None, inputs: int = 2) -> Search:
    """A search for this relative L2 against the float32 graph."""
    fp32 = session(model)

    def trial(seed: int) -> Trial:
        feeds = {"x": np.random.default_rng(seed).normal(size=(3, 64)).astype(np.float32)}
        (want,) = fp32.run(None, feeds)

        def strain(outputs: Sequence[np.ndarray]) -> np.ndarray:
            error = np.linalg.norm(outputs[0].astype(np.float64) - want) / np.linalg.norm(want)
            return np.array([np.float64(np.nan_to_num(error / tolerance, nan=1e9, posinf=1e9)) ** 2])

        return Trial(feeds, strain)

    switches = Switches(Roundings(model, options or HalfOptions()))
    return Search(switches, [trial(i) for i in range(inputs)], lambda _: None)


def _error(model: Model, kept: tuple[str, ...]) -> float:
    """What the converted file computes, by its own simulation."""
    feeds = {"x": np.random.default_rng(99).normal(size=(5, 64)).astype(np.float32)}
    half, _ = convert(model, HalfOptions(node_block_list=kept))
    (want,), (got,) = (session(m).run(None, feeds) for m in (model, simulated(half)))
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def _overflowing() -> Model:
    nodes, weights = _layers(3)
    extra = {"thousand": np.float32(2000).reshape(1), "eps": np.float32(1e-3).reshape(1)}
    return _model([*nodes, *_norm("t2", "y", "eps")], {**weights, **extra})


def test_nothing_is_kept_where_the_plain_conversion_holds() -> None:
    found = _search(_model(*_layers_to_y(2)), 1e-2).run()
    assert found.kept == ()
    assert found.runs <= 4


def _layers_to_y(count: int) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    nodes, weights = _layers(count)
    nodes[-1].output[0] = "y"
    return nodes, weights


def test_what_overflows_is_kept_and_little_else() -> None:
    model = _overflowing()
    found = _search(model, 1e-2).run()
    assert {"n_y_square", "n_y_mean", "n_y_eps", "n_y_root"} >= set(found.kept) >= {"n_y_square", "n_y_mean"}
    assert found.plain > 1 >= found.after
    assert _error(model, found.kept) < 1e-2


def test_the_kept_nodes_come_in_the_graphs_order_and_are_the_same_again() -> None:
    first, second = (_search(_overflowing(), 1e-2).run() for _ in range(2))
    order = [n.name for n in _overflowing().proto.graph.node]
    assert list(first.kept) == sorted(first.kept, key=order.index)
    assert first.kept == second.kept
    assert first.runs == second.runs


def test_a_tighter_tolerance_keeps_more_and_holds() -> None:
    model = _model(*_layers_to_y(6))
    plain = _error(model, ())
    kept = [len(_search(model, plain * share).run().kept) for share in (0.95, 0.9)]
    assert 0 < kept[0] <= kept[1] < 12


def test_weights_that_alone_break_the_tolerance_are_named() -> None:
    with pytest.raises(Infeasible) as caught:
        _search(_model(*_layers_to_y(4)), 1e-5).run()
    assert caught.value.what == "the weights"
    assert caught.value.strain > 1
    named = [name for name, _ in caught.value.worst]
    assert set(named) == {"w0", "w1", "w2", "w3"}
    strains = [strain for _, strain in caught.value.worst]
    assert strains == sorted(strains, reverse=True)


def test_it_says_so_after_a_few_runs() -> None:
    search = _search(_model(*_layers_to_y(4)), 1e-5)
    with pytest.raises(Infeasible):
        search.run()
    assert search.runs < 60


def test_a_weight_beyond_the_range_keeps_its_node_instead_of_giving_up() -> None:
    nodes, weights = _layers(2)
    nodes += [_node("Mul", "t1 huge", "z"), _node("Div", "z large", "y")]
    weights |= {"huge": np.full(1, 1e6, np.float32), "large": np.full(1, 1e3, np.float32)}
    model = _model(nodes, weights)
    found = _search(model, 1e-2, HalfOptions()).run()
    assert set(found.kept) == {"n_z", "n_y"}
    assert _error(model, found.kept) < 1e-2


def _angles() -> Model:
    """``tanh(x W) * sin(4000 x * frequency)``: rounded to half, the angle is off by whole turns."""
    nodes, weights = _layers(3)
    tail = [
        _node("Mul", "x far", "place"),
        _node("Mul", "place frequency", "angle"),
        _node("Sin", "angle", "sine"),
        _node("Mul", "t2 sine", "y"),
    ]
    table = {"frequency": np.linspace(0.1, 2, 64, dtype=np.float32), "far": np.full(1, 4001, np.float32)}
    return _model([*nodes, *tail], {**weights, **table})


def test_a_table_that_half_cannot_hold_is_kept_with_the_whole_chain_that_reads_it() -> None:
    found = _search(_angles(), 1e-2).run()
    assert set(found.kept) == {"n_place", "n_angle", "n_sine"}
    assert _error(_angles(), ()) > 0.5
    assert _error(_angles(), found.kept) < 1e-3


def test_weights_that_alone_break_the_tolerance_are_kept_where_others_can_be_rounded() -> None:
    nodes, weights = _layers(3)  # and a product whose weights make nearly all of the error
    nodes += [_node("MatMul", "x loud", "l"), _node("Add", "t2 l", "s"), _node("Sub", "s l", "d")]
    nodes += [_node("MatMul", "x quiet", "q"), _node("Add", "d q", "y")]
    weights |= {"loud": np.eye(64, dtype=np.float32), "quiet": 0.1 * weights["w0"]}
    model = _model(nodes, weights)
    search = _search(model, 2e-4)
    assert search._worst(search.weights) > 1
    found = search.run()
    assert found.kept
    assert _error(model, found.kept) < 2e-4
    half, _ = convert(model, HalfOptions(node_block_list=found.kept))
    assert any(t.data_type == TensorProto.FLOAT16 for t in half.proto.graph.initializer)


def test_where_a_lone_use_decides_by_comparing_its_values_are_kept() -> None:
    nodes, weights = _layers(2)
    nodes += [
        onnx.helper.make_node("TopK", ["t1", "eight"], ["", "index"], "n_top"),
        _node("GatherElements", "table index", "row"),
        _node("ReduceSum", "row", "sum", keepdims=1),
        _node("Mul", "sum t1", "y"),
    ]
    rows = np.tile(np.where(np.arange(64) % 2, 1e3, -1e3), (3, 1)).astype(np.float32)
    model = _model(nodes, {**weights, "eight": np.array([8]), "table": rows})
    roundings = Roundings(model, HalfOptions())
    (use,) = [i for i, u in enumerate(roundings.uses) if u.node == "n_top"]
    assert roundings.needs[use] == {"n_t1", "n_top"}
    assert use in roundings.rounded(("n_top",))
    assert use not in roundings.rounded(("n_t1", "n_top"))


def test_nearly_all_in_fp32_is_not_half() -> None:
    model = _model(*_layers_to_y(4))
    with pytest.raises(Infeasible) as caught:
        _search(model, 1e-5).run()
    assert (caught.value.kept, caught.value.nodes) == (8, 8)


def test_half_edges_that_alone_break_the_tolerance_are_said() -> None:
    model = _model([_node("Identity", "x", "h"), _node("Neg", "h", "y")])
    with pytest.raises(Infeasible, match="inputs and outputs"):
        _search(model, 1e-6, HalfOptions(keep_io_types=False)).run()


def test_a_stricter_limit_finds_more() -> None:
    model = _model(*_layers_to_y(6))
    tolerance = _error(model, ()) * 1.3
    search = _search(model, tolerance)
    assert search.run().kept == ()
    search.limit = 0.5
    found: SearchResult = search.run()
    assert found.kept
    assert found.after <= 0.5


def test_progress_is_told() -> None:
    words: list[str] = []
    search = _search(_overflowing(), 1e-2)
    search.tell = words.append
    search.run()
    assert words[0] == "measuring what rounding the weights alone costs"
    assert any(w.startswith("measuring ") and " roundings in " in w for w in words)
    assert words[-1].startswith("with ")


def _checked(tolerance: float, stricter: float) -> Search:
    """A search for this tolerance and, as the user's own check, for another."""
    search = _search(_noisy(), tolerance)
    for index, trial in enumerate(search.trials):

        def accepts(outputs: Sequence[np.ndarray], trial: Trial = trial) -> bool:
            return bool(np.sqrt(trial.strain(outputs).max()) * tolerance <= stricter)

        search.trials[index] = replace(trial, accepts=accepts)
    return search


def _noisy() -> Model:
    """``l + tanh(x) - l``: rounding the hundred times larger ``l`` makes nearly all of the error."""
    nodes, weights = _layers(2)
    large = [_node("Mul", "t1 hundred", "l"), _node("Tanh", "x", "t"), _node("Add", "l t", "s")]
    tail = [_node("Sub", "s l", "y")]
    return _model([*nodes, *large, *tail], {**weights, "hundred": np.float32(100).reshape(1)})


def test_a_check_of_the_users_own_decides_beside_the_bounds() -> None:
    loose, strict = _checked(0.5, 0.5).run(), _checked(0.5, 1e-3).run()
    assert loose.kept == ()
    assert strict.kept != ()
    assert _error(_noisy(), ()) > 1e-3 > _error(_noisy(), strict.kept)
    assert len(strict.kept) < len(_noisy().proto.graph.node)


def test_a_check_that_even_rounded_weights_do_not_pass_ends_the_search() -> None:
    nodes, weights = _layers_to_y(2)
    search = _search(_model(nodes, weights), 0.5)
    exact = search.switches.run(search.trials[0].feeds, ())[0]
    first = replace(search.trials[0], accepts=lambda outputs: bool(np.array_equal(outputs[0], exact)))
    search.trials[:] = [first]
    assert search.unrounded() <= 1
    with pytest.raises(Infeasible) as ended:
        search.run()
    assert (ended.value.what, ended.value.refused) == ("the weights", True)


def test_a_rounding_that_leaves_sizes_which_do_not_fit_is_kept_away_from() -> None:
    nodes, weights = _layers(1)  # 63.99 is 64 in half, and there are columns 0 to 63
    nodes += [
        _node("Mul", "x small", "scaled"),
        _node("Add", "scaled two", "moved"),
        _node("Floor", "moved", "whole"),
        _node("Cast", "whole", "index", to=TensorProto.INT64),
        _node("GatherElements", "t0 index", "picked", axis=1),
        _node("Add", "picked t0", "y"),
    ]
    more = {"small": np.full(1, 1e-6, np.float32), "two": np.full(1, 63.99, np.float32)}
    model = _model(nodes, {**weights, **more})
    search = _search(model, 1e-2)
    assert np.isinf(search._worst(search.every))
    found = search.run()
    assert "n_moved" in found.kept
    assert _error(model, found.kept) < 1e-2


def _assigning() -> Model:
    """Each row goes to the likeliest of 64 groups, three layers in, whose vector three more layers read.

    A second choice is made of sizes and of the first one alone.
    """
    nodes, weights = _layers(6)
    choosing = [
        onnx.helper.make_node("ArgMax", ["t2"], ["group"], "n_group", axis=1, keepdims=0),
        _node("Shape", "t2", "sizes"),
        _node("Gather", "table group", "given"),
    ]
    nodes[6].input[0] = "given"
    nodes[-1].output[0] = "y"
    table = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
    return _model([*nodes[:6], *choosing, *nodes[6:]], {**weights, "table": table})


def test_all_that_a_choice_is_made_of_is_told_by_the_graph() -> None:
    (step,) = before_choices(Roundings(_assigning(), HalfOptions()))
    assert set(step) == {"n_m0", "n_t0", "n_m1", "n_t1", "n_m2", "n_t2", "n_group"}
    assert before_choices(Roundings(_model(*_layers_to_y(2)), HalfOptions())) == []


def _differ(model: Model, kept: tuple[str, ...]) -> float:
    """The share of rows that a converted file sends to another group, of 20,000 that no search has seen."""
    half, _ = convert(model, HalfOptions(node_block_list=kept))
    feeds = {"x": np.random.default_rng(98).normal(size=(20_000, 64)).astype(np.float32)}
    (want,), (got,) = (session(m).run(None, feeds) for m in (model, simulated(half)))
    return float((np.abs(got - want).max(1) > 0.1).mean())


def test_where_values_are_chosen_what_they_are_chosen_by_can_be_kept_first() -> None:
    model = _assigning()
    loose = _search(model, 1.0)
    search = _search(model, 0.9 * loose._worst(loose.every) ** 0.5)
    found = search.run()
    assert _differ(model, found.kept) > 1e-4  # the two inputs of the search show none of it
    assert search.settle()
    settled = search.run()
    assert {"n_m0", "n_t0", "n_m1", "n_t1", "n_m2", "n_t2", "n_group"} <= set(settled.kept)
    assert len(settled.kept) < len(model.proto.graph.node) - 2
    assert settled.after <= 1
    assert _differ(model, settled.kept) == 0
    assert not search.settle()  # and there is one such way


def test_a_graph_that_chooses_nothing_has_no_other_way() -> None:
    search = _search(_overflowing(), 1e-2)
    search.run()
    assert not search.settle()
