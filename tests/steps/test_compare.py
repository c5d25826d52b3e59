"""Distances and tolerances, against numpy's own definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelbuild.base.tolerance import Tolerance
from modelbuild.steps.compare import distance, is_vacuous, measured, strains
from modelbuild.steps.figures import level_of, worst_of

arrays = hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-1e3, 1e3, width=32))


@given(arrays, st.floats(0, 1e-2), st.floats(0, 1e-2), st.integers(0, 5))
def test_rtol_and_atol_are_allclose(reference: np.ndarray, rtol: float, atol: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 5e-3, reference.shape).astype(np.float32)
    candidate = reference + noise
    found = distance(reference, candidate, Tolerance(rtol=rtol, atol=atol))
    wide = candidate.astype(np.float64), reference.astype(np.float64)
    assert found.passed == np.allclose(*wide, rtol=rtol, atol=atol)


def test_relative_l2_and_cosine_are_what_their_names_say() -> None:
    reference = np.array([3.0, 4.0], np.float32)
    found = distance(reference, reference * 2, Tolerance(relative_l2=0.5, cosine=0.9))
    assert found.relative_l2 == pytest.approx(1.0)
    assert found.cosine == pytest.approx(1.0)
    assert found.headroom == pytest.approx(0.5)
    assert not found.passed, "a cosine of 1 alone misses a wrong scale"


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300])
def test_a_cosine_does_not_depend_on_how_large_or_small_the_numbers_are(size: float) -> None:
    found = distance(np.array([1.0, 0.0]) * size, np.array([1.0, 1.0]) * size, Tolerance(cosine=0.9))
    assert found.cosine == pytest.approx(1 / 2**0.5)
    turned = distance(np.array([1.0, 0.0]) * size, np.array([0.0, 1.0]) * size, Tolerance(cosine=0.9))
    assert turned.cosine == pytest.approx(0.0)
    assert not turned.passed


def test_the_headroom_of_a_cosine_is_what_it_leaves_below_one() -> None:
    found = distance(np.array([1.0, 0.0]), np.array([1.0, 1.0]), Tolerance(cosine=0.9))
    assert found.cosine == pytest.approx(1 / 2**0.5)
    assert found.headroom == pytest.approx((1 - 0.9) / (1 - 1 / 2**0.5))
    assert not found.passed


@pytest.mark.parametrize(
    ("bounds", "level"),
    [({"relative_l2": 0.3, "cosine": 0.5}, 0.3), ({"cosine": 0.98}, 0.2), ({"rtol": 1.0}, None)],
    ids=["of-the-norm", "of-the-cosine", "of-none"],
)
def test_a_part_may_be_off_by_what_its_norm_or_its_cosine_allows(
    bounds: dict[str, float], level: float | None
) -> None:
    assert level_of(Tolerance(**bounds)) == (level if level is None else pytest.approx(level))


def test_an_error_relative_to_zero_is_infinite_and_none_is_none() -> None:
    reference = np.array([0.0, 2.0])
    assert distance(reference, np.array([0.0, 3.0]), Tolerance()).max_rel == 0.5
    assert distance(reference, np.array([1.0, 2.0]), Tolerance()).max_rel == math.inf
    assert distance(reference, reference, Tolerance()).max_rel == 0.0


@pytest.mark.parametrize(
    ("bounds", "idle"),
    [
        ({"atol": 4.0}, True),
        ({"atol": 3.9}, False),
        ({"rtol": 1.0}, True),
        ({"rtol": 0.9}, False),
        ({"atol": 4.0, "relative_l2": 0.1}, False),
        ({}, False),
    ],
)
def test_a_bound_that_zeros_would_pass_is_told(bounds: dict[str, float], idle: bool) -> None:
    reference = np.array([1.0, -4.0])
    assert distance(reference, reference, Tolerance(**bounds)).idle is idle
    assert not distance(reference * 0, reference * 0, Tolerance(**bounds)).idle, "zeros are right there"


def test_an_element_at_its_bound_is_not_beyond_it() -> None:
    found = distance(np.ones(3), np.array([1.5, 3.0, 1.0]), Tolerance(atol=0.5))
    assert (found.beyond, found.passed) == (1, False)
    assert distance(np.ones(3), np.array([1.5, 0.5, 1.0]), Tolerance(atol=0.5)).passed


def test_every_named_bound_must_hold() -> None:
    reference, candidate = np.array([1.0, 1.0]), np.array([1.0, 1.1])
    loose = Tolerance(relative_l2=1.0)
    assert distance(reference, candidate, loose).passed
    assert not distance(reference, candidate, Tolerance(relative_l2=1.0, rtol=1e-3, atol=0.0)).passed


@pytest.mark.parametrize(
    ("reference", "candidate", "one_sided"),
    [
        pytest.param([np.inf, 1], [np.inf, 1], 0, id="equal-infinities-agree"),
        pytest.param([np.nan, 1], [np.nan, 1], 0, id="nan-on-both-sides-agrees"),
        pytest.param([np.inf, 1], [-np.inf, 1], 1, id="another-sign"),
        pytest.param([1, 1], [np.nan, np.inf], 2, id="only-the-candidate"),
        pytest.param([np.nan, 1], [1, 1], 1, id="only-the-reference"),
    ],
)
def test_what_is_not_finite_must_be_so_on_both_sides(
    reference: list[float], candidate: list[float], one_sided: int
) -> None:
    found = distance(np.array(reference, np.float32), np.array(candidate), Tolerance(relative_l2=10))
    assert found.one_sided == one_sided
    assert found.passed == (one_sided == 0)


def test_integers_must_be_equal() -> None:
    reference = np.array([1, 2, 3])
    assert distance(reference, reference, Tolerance(atol=9)).headroom == math.inf
    off = distance(reference, np.array([1, 2, 4]), Tolerance(atol=9))
    assert not off.passed
    assert off.worst == "element [2]: 4, PyTorch 3; 33.33% of the elements differ"


def test_the_worst_element_is_named_with_both_values() -> None:
    reference = np.zeros((2, 2)) + 1
    candidate = reference.copy()
    candidate[1, 0] = 1.5
    found = distance(reference, candidate, Tolerance(rtol=1e-3, atol=1e-3))
    assert found.worst == "element [1, 0]: 1.5, PyTorch 1"
    assert found.headroom == pytest.approx(2e-3 / 0.5)


def test_the_worst_element_is_the_one_nearest_to_its_bound_and_not_the_farthest_off() -> None:
    found = distance(np.array([1.0, 1000.0]), np.array([1.5, 1001.0]), Tolerance(rtol=0.1))
    assert found.worst == "element [0]: 1.5, PyTorch 1"
    assert found.headroom == pytest.approx(0.1 / 0.5)


def test_zeros_on_both_sides_have_no_angle_between_them() -> None:
    zeros = measured(np.zeros(3), np.zeros(3))
    assert (zeros.cosine, zeros.gap, zeros.relative_l2) == (1.0, 0.0, 0.0)
    assert measured(np.zeros(3), np.ones(3)).gap == 1.0


def test_empty_outputs_agree() -> None:
    empty = np.zeros((0, 3), np.float32)
    assert distance(empty, empty, Tolerance(rtol=0, atol=0)).passed


def test_the_worst_of_several_is_the_tightest() -> None:
    near = distance(np.ones(3), np.ones(3) + 1e-6, Tolerance(relative_l2=1e-3))
    far = distance(np.ones(3), np.ones(3) + 1e-4, Tolerance(relative_l2=1e-3))
    assert worst_of([near, far, near]).headroom == far.headroom


def test_what_has_no_number_is_null_in_json() -> None:
    found = distance(np.ones(3), np.ones(3), Tolerance(relative_l2=1e-3)).as_json()
    assert (found["headroom"], found["relative_l2"]) == (None, 0.0)
    assert distance(np.zeros(3), np.ones(3), Tolerance(relative_l2=1e-3)).as_json()["relative_l2"] is None


@pytest.mark.parametrize(
    ("outputs", "vary", "vacuous"),
    [
        pytest.param([[0, 0], [0, 0]], True, True, id="zeros-everywhere"),
        pytest.param([[1, 2], [1, 2]], True, True, id="the-same-for-other-inputs"),
        pytest.param([[1, 2], [1, 3]], True, False, id="differs"),
        pytest.param([[1, 2], [1, 2]], False, False, id="constant-inputs-must-give-constant-outputs"),
        pytest.param([[1, 2]], True, False, id="one-sample"),
        pytest.param([[np.nan, np.nan], [np.nan, np.nan]], True, True, id="nan-everywhere"),
        pytest.param([[np.nan, 1], [np.nan, 1]], True, True, id="nan-and-the-same"),
        pytest.param([[np.nan, 1], [np.nan, 2]], True, False, id="nan-and-more"),
        pytest.param([], True, False, id="no-outputs"),
        pytest.param([[5]], True, False, id="one-number-once"),
        pytest.param([[5], [5]], True, True, id="one-number-for-other-inputs"),
        pytest.param([[5], [5]], False, False, id="one-number-for-constant-inputs"),
    ],
)
def test_a_check_that_proves_nothing_is_seen(outputs: list[list[float]], vary: bool, vacuous: bool) -> None:
    assert is_vacuous([np.array(o, np.float32) for o in outputs], inputs_vary=vary) == vacuous


@pytest.mark.parametrize(
    ("bounds", "strain"),
    [
        ({"rtol": 0.05}, [(0.4 / 0.2) ** 2]),
        ({"rtol": 0.1, "atol": 0.4}, [(0.4 / 0.8) ** 2]),
        ({"relative_l2": 0.1}, [(0.4 / 21**0.5 / 0.1) ** 2]),
        ({"relative_l2": 0.1, "rtol": 0.05}, [4.0, (0.4 / 21**0.5 / 0.1) ** 2]),
    ],
)
def test_a_strain_is_the_error_in_its_bound_squared_one_for_each_bound(
    bounds: dict[str, float], strain: list[float]
) -> None:
    found = strains(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.4]), Tolerance(**bounds))
    assert found == pytest.approx(strain)


@pytest.mark.parametrize(
    ("mismatch", "strain"), [(None, 0.0), (0.0, 1.25), (0.5, 0.5)], ids=["unasked", "none-may", "half-may"]
)
def test_the_strain_of_integers_is_the_share_that_differs(mismatch: float | None, strain: float) -> None:
    one, other = np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])
    assert strains(one, other, Tolerance(mismatch=mismatch)) == [strain]
    assert strains(one, one, Tolerance(mismatch=mismatch)) == [0.0]


@pytest.mark.parametrize(
    ("off", "bounds", "beyond"),
    [
        (1.2, {"relative_l2": 0.1}, 2),
        (1.4, {"relative_l2": 0.01, "rtol": 0.3}, 1),
        (1.2, {"relative_l2": 0.01, "rtol": 0.3}, 2),
    ],
    ids=["by-the-norm", "by-their-own-bound", "by-the-norm-where-none-is-beyond-its-own"],
)
def test_elements_beyond_a_bound_are_counted(off: float, bounds: dict[str, float], beyond: int) -> None:
    found = distance(np.ones(4), np.array([1, 1.2, off, 1.0]), Tolerance(**bounds))
    assert found.beyond == beyond


def test_a_distance_says_which_bound_decided_and_what_was_held_against_it() -> None:
    reference, candidate = np.array([3.0, 4.0]), np.array([3.0, 4.4])
    whole = Tolerance(relative_l2=0.1, cosine=0.9)
    found = distance(reference, candidate, whole).judged
    assert found is not None
    assert (found.measure, found.bound) == ("relative_l2", 0.1)
    assert found.value == pytest.approx(0.4 / 5)
    element = distance(reference, candidate, Tolerance(rtol=0.2, atol=0.1)).judged
    assert element is not None
    assert (element.measure, element.value, element.bound) == ("rtol, atol", *map(pytest.approx, (0.4, 0.9)))
    slanted = distance(reference, np.array([4.0, 3.0]), Tolerance(relative_l2=9, cosine=0.999)).judged
    assert slanted is not None
    assert (slanted.measure, slanted.bound) == ("cosine", 0.999)
    assert slanted.value == pytest.approx(24 / 25)
    counts = distance(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), Tolerance(mismatch=0.5)).judged
    assert counts is not None
    assert (counts.measure, counts.value, counts.bound) == ("mismatch", 0.25, 0.5)
    assert distance(reference, reference, whole).judged is None


@given(arrays, st.floats(1e-6, 1), st.integers(0, 5))
def test_the_headroom_is_that_of_the_bound_that_decided(
    reference: np.ndarray, bound: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(0, 5e-3, reference.shape).astype(np.float32)
    found = distance(reference, reference + noise, Tolerance(relative_l2=bound, rtol=bound, atol=bound))
    if found.judged is not None and found.judged.measure != "cosine":
        assert found.judged.bound / found.judged.value == pytest.approx(found.headroom)


@given(arrays, st.floats(5, 60), st.integers(0, 5))
def test_sqnr_is_relative_l2_in_decibels(reference: np.ndarray, least: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 5e-3, reference.shape).astype(np.float32)
    found = distance(reference, reference + noise, Tolerance(sqnr=least))
    alike = distance(reference, reference + noise, Tolerance(relative_l2=10 ** (-least / 20)))
    assert found.headroom == pytest.approx(alike.headroom)
    assert found.passed == alike.passed
    told = found.as_json()["sqnr"]
    if told is not None:
        assert told == pytest.approx(-20 * math.log10(found.relative_l2))


def test_the_ratio_of_signal_to_noise_holds_for_every_part_of_an_output() -> None:
    boxes, scores = np.full((1, 4, 50), 300.0), np.full((1, 2, 50), 0.5)
    reference = np.concatenate([boxes, scores], axis=1).astype(np.float32)
    candidate = np.concatenate([boxes, scores * 0.5], axis=1).astype(np.float32)
    found = distance(reference, candidate, Tolerance(sqnr=20))
    assert not found.passed, "the boxes are 3000 times the scores, of which nothing is left"
    assert found.judged is not None
    assert found.judged.measure == "relative_l2 of a part"
    whole = distance(reference, candidate, Tolerance(rtol=1, sqnr=20, atol=0)).as_json()
    assert whole["sqnr"] > 60
