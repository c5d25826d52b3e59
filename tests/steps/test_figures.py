"""Figures of an output: of several inputs, as JSON, and the points that any tolerance can be about."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelbuild.base.tolerance import Tolerance
from modelbuild.steps.compare import distance, measured, strains
from modelbuild.steps.figures import Figures, chain, merged, worst_of


def test_the_figures_of_one_input_are_its_own() -> None:
    only = measured(np.array([3.0, 4.0]), np.array([3.0, 4.4]))
    assert merged([only]) == only


def test_of_several_inputs_each_figure_is_the_worst_wherever_it_comes_from() -> None:
    one = Figures(
        0.1, 0.9, 0.2, 0.99, 4, one_sided=1, gap=0.3, part=0.0, peak=7.0, sized=True, hull=((1.0, 0.1),)
    )
    two = Figures(
        0.5, 0.4, 0.1, 0.90, 9, one_sided=2, gap=0.1, part=0.6, peak=2.0, sized=False, hull=((2.0, 0.5),)
    )
    both = Figures(
        0.5, 0.9, 0.2, 0.90, 9, one_sided=3, gap=0.3, part=0.6, peak=7.0, sized=False, hull=((2.0, 0.5),)
    )
    assert merged([one, two]) == merged([two, one]) == both


def test_a_bound_is_of_no_use_where_it_is_of_none_for_every_input() -> None:
    small, large = (distance(np.full(3, s), np.full(3, s), Tolerance(atol=1)) for s in (0.5, 5.0))
    assert (small.idle, large.idle) == (True, False)
    assert worst_of([small, small]).idle
    assert not worst_of([small, large]).idle


def test_what_is_held_against_a_bound_is_null_in_json_where_it_is_no_number() -> None:
    infinite = distance(np.zeros(3), np.ones(3), Tolerance(relative_l2=1e-3))
    assert infinite.judged is not None
    assert infinite.judged.value == math.inf
    assert infinite.as_json()["judged"] is None


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ([(1.0, 1.0), (2.0, 1.5)], [(1.0, 1.0), (2.0, 1.5)]),
        ([(1.0, 1.0), (2.0, 2.0)], [(2.0, 2.0)]),
        ([(1.0, 1.0), (2.0, 3.0)], [(2.0, 3.0)]),
        ([(1.0, 1.0), (2.0, 0.5)], [(1.0, 1.0)]),
    ],
    ids=["above-the-line", "on-it", "below-it", "larger-and-nearer"],
)
def test_a_point_is_kept_that_lies_above_the_line_from_the_origin(
    points: list[tuple[float, float]], kept: list[tuple[float, float]]
) -> None:
    assert list(chain(points)) == kept


def test_the_figures_of_integers_say_which_share_differs() -> None:
    assert measured(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])).share == 0.25
    assert measured(np.array([True]), np.array([True])).share == 0.0


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_an_error_relative_to_its_output_does_not_depend_on_how_large_that_is(scale: float) -> None:
    """Squares of these leave float64 on either side."""
    reference = np.array([3.0, 4.0]) * scale
    assert measured(reference, reference * 1.5).relative_l2 == pytest.approx(0.5)


def test_the_strain_of_a_ratio_in_decibels_is_that_of_the_error_it_stands_for() -> None:
    reference, candidate = np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.4])
    (strain,) = strains(reference, candidate, Tolerance(sqnr=20))
    assert strain == pytest.approx((0.4 / 21**0.5 / 0.1) ** 2)
