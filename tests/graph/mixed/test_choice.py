"""Which nodes are worth keeping: arithmetic, no model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.graph.mixed.choice import additions
from modelbuild.graph.mixed.sensitivity import shares


def _needs(*uses: str) -> list[frozenset[str] | None]:
    return [frozenset(u) if u else None for u in uses]


def test_what_pays_most_per_node_comes_first() -> None:
    steps = list(additions(_needs("ab", "c", "de"), {0: 1.0, 1: 0.6, 2: 5.0}, ()))
    assert steps == [(("d", "e"), 5.0), (("c",), 0.6), (("a", "b"), 1.0)]


def test_a_neighbour_of_what_is_kept_costs_one_node_less() -> None:
    steps = [nodes for nodes, _ in additions(_needs("ab", "bc", "xy"), {0: 1.0, 1: 0.8, 2: 0.9}, ())]
    assert steps == [("a", "b"), ("c",), ("x", "y")]


def test_what_is_kept_already_costs_nothing_and_gains_nothing_new() -> None:
    steps = list(additions(_needs("ab", "a"), {0: 1.0, 1: 1.0}, ("a",)))
    assert steps == [(("b",), 1.0)]


def test_a_step_counts_every_use_that_it_completes() -> None:
    steps = list(additions(_needs("abc", "ab", "d"), {0: 3.0, 1: 1.0, 2: 1.2}, ()))
    assert steps[0] == (("a", "b", "c"), 4.0)


def test_a_use_that_nothing_can_help_is_left_out() -> None:
    assert list(additions(_needs("", "a"), {0: 9.0, 1: 0.0}, ())) == []


@given(
    st.lists(st.frozensets(st.sampled_from("abcdefg"), min_size=1, max_size=4), max_size=12),
    st.data(),
)
def test_every_gain_is_counted_once_and_every_node_is_added_once(
    needs: list[frozenset[str]], data: st.DataObject
) -> None:
    gains = {i: data.draw(st.floats(0.01, 10)) for i in range(len(needs))}
    steps = list(additions(needs, gains, ()))
    added = [node for nodes, _ in steps for node in nodes]
    assert len(added) == len(set(added))
    assert set(added) == set().union(*needs)
    assert sum(gain for _, gain in steps) == pytest.approx(sum(gains.values()))
    assert steps == list(additions(needs, gains, ()))


def _measure(strains: dict[int, float], log: list[frozenset[int]]):
    def measure(members: frozenset[int]) -> np.ndarray:
        log.append(members)
        return np.array([sum(strains[m] for m in members)])

    return measure


def test_the_one_rounding_that_matters_is_found_in_a_few_runs() -> None:
    strains = dict.fromkeys(range(256), 1e-4)
    strains[77] = 4.0
    log: list[frozenset[int]] = []
    found = shares([range(256)], _measure(strains, log), runs=100, smallest=0.05)
    assert found[77][0] == pytest.approx(4.0)
    assert len(log) < 20
    assert max(float(v[0]) for i, v in found.items() if i != 77) < 0.01


def test_a_rounding_that_breaks_everything_is_told_from_its_group() -> None:
    strains = dict.fromkeys(range(64), 0.0)
    strains[5] = np.inf
    found = shares([range(32), range(32, 64)], _measure(strains, []), runs=64, smallest=0.05)
    assert [i for i, v in found.items() if np.isinf(v[0])] == [5]


def test_measurements_are_bounded() -> None:
    log: list[frozenset[int]] = []
    found = shares([range(1000)], _measure(dict.fromkeys(range(1000), 1.0), log), runs=20, smallest=0.0)
    assert len(log) <= 20
    assert sorted(found) == list(range(1000))
    assert sum(float(v[0]) for v in found.values()) == pytest.approx(1000)
