"""Sizes: where to trace and where to compare."""

from __future__ import annotations

from math import gcd

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelbuild.base.tensors import Axis, TensorSpec, sampled_sizes, traced_sizes


@st.composite
def axes(draw: st.DrawFn) -> list[Axis]:
    found = []
    for name in ("a", "b", "c")[: draw(st.integers(1, 3))]:
        low = draw(st.integers(1, 64))
        opt = draw(st.integers(low, 256))
        found.append(Axis(name, low, opt, draw(st.integers(opt, 512))))
    return found


@given(axes(), st.sets(st.integers(1, 8)))
def test_traced_sizes_are_distinct_at_least_two_and_no_fixed_size(found: list[Axis], fixed: set[int]) -> None:
    traced = traced_sizes(found, fixed)
    assert len(set(traced.values())) == len(found)
    assert all(n >= 2 and n not in fixed for n in traced.values())
    assert all(traced[a.name] % a.unit == 0 for a in found)


@given(axes())
def test_sampled_sizes_are_few_in_range_and_reach_both_ends(found: list[Axis]) -> None:
    rows = sampled_sizes(found, traced_sizes(found))
    assert len(rows) <= 4 + 2 * len(found)
    for axis in found:
        sizes = {row[axis.name] for row in rows}
        assert {axis.min, axis.max} <= sizes
        assert all(axis.min <= n <= axis.max for n in sizes)


@given(axes())
@example([Axis("a", 1, 1, 2), Axis("b", 1, 1, 2), Axis("c", 1, 1, 1)])
def test_two_axes_are_equal_in_a_row_and_either_is_the_larger_in_one(found: list[Axis]) -> None:
    """Where their ranges allow."""
    rows = sampled_sizes(found, traced_sizes(found))
    for i, a in enumerate(found):
        for b in found[i + 1 :]:
            if max(a.min, b.min) > min(a.max, b.max):
                continue
            pairs = [(row[a.name], row[b.name]) for row in rows]
            assert any(m == n for m, n in pairs)
            assert a.min >= b.max or any(m < n for m, n in pairs)
            assert a.max <= b.min or any(m > n for m, n in pairs)


@pytest.mark.parametrize(
    ("found", "rows"),
    [
        pytest.param([Axis("batch", 1, 4, 8), Axis("sequence", 16, 64, 128)],
                     [(1, 16), (2, 32), (3, 17), (8, 128), (1, 17)], id="ranges-apart"),
        pytest.param([Axis("height", 32, 64, 256), Axis("width", 32, 64, 256)],
                     [(32, 32), (64, 96), (33, 35), (256, 256), (64, 32)], id="the-same-range"),
        pytest.param([Axis("batch", 1, 4, 32), Axis("sequence", 16, 64, 128)],
                     [(1, 16), (2, 32), (17, 17), (32, 128), (17, 16)], id="ranges-that-overlap"),
    ],
)  # fmt: skip
def test_two_axes_cost_five_rows(found: list[Axis], rows: list[tuple[int, int]]) -> None:
    sampled = sampled_sizes(found, traced_sizes(found))
    assert [tuple(row.values()) for row in sampled] == rows


@pytest.mark.parametrize(
    ("axis", "traced", "rows"),
    [
        pytest.param(Axis("batch", 1, 4, 8), 2, [1, 2, 3, 8], id="batch"),
        pytest.param(Axis("batch", 1, 1, 8), 2, [1, 2, 3, 8], id="an-opt-of-1-is-not-traced-at-1"),
        pytest.param(Axis("length", 16, 64, 128), 32, [16, 32, 17, 128], id="multiples-are-traced"),
        pytest.param(Axis("height", 224, 224, 224), 224, [224], id="one-size"),
        pytest.param(Axis("batch", 1, 1, 1), 2, [1], id="one-is-traced-at-2-and-compared-at-1"),
    ],
)
def test_one_axis(axis: Axis, traced: int, rows: list[int]) -> None:
    sizes = traced_sizes([axis])
    assert sizes == {axis.name: traced}
    assert [row[axis.name] for row in sampled_sizes([axis], sizes)] == rows


def test_one_of_the_sizes_shares_no_factor_with_the_traced_one() -> None:
    axis = Axis("batch", 4, 8, 32)
    traced = traced_sizes([axis])["batch"]
    assert any(gcd(row["batch"], traced) == 1 for row in sampled_sizes([axis], {"batch": traced}))


def test_a_scalar_has_a_shape_and_no_axes() -> None:
    spec = TensorSpec("s", "float32", ())
    assert spec.at({"batch": 3}) == ()
    assert sampled_sizes([], {}) == ({},)


def test_pinning_fixes_the_named_axes_and_leaves_the_others() -> None:
    spec = TensorSpec("x", "float32", ("batch", 3, "length"))
    assert spec.pinned({"batch": 4}).shape == (4, 3, "length")
