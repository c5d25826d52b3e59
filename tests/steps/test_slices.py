"""Parts of an output that have a size of their own are judged by it; what is small by chance is not."""

from __future__ import annotations

import numpy as np
import pytest

from modelbuild.base.tolerance import Tolerance
from modelbuild.steps.compare import distance, strains
from modelbuild.steps.slices import parts

HALF = Tolerance(relative_l2=1e-2, cosine=0.999)
RANDOM = np.random.default_rng(7)


def boxes_and_scores(axis: int) -> np.ndarray:
    """Four columns in pixels and three of scores, the columns along ``axis`` of three."""
    boxes, scores = RANDOM.uniform(0, 3000, (2, 50, 4)), RANDOM.uniform(0, 1, (2, 50, 3))
    return np.moveaxis(np.concatenate([boxes, scores], 2), 2, axis).astype(np.float32)


def test_a_part_is_judged_by_its_own_size_also_where_the_whole_is_small() -> None:
    reference = boxes_and_scores(2).astype(np.float64) * 1e-6
    lost = reference.copy()
    lost[..., 5] = 0
    assert not distance(reference, lost, HALF).passed


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scores_that_are_lost_beside_boxes_fail_and_the_slice_is_named(axis: int) -> None:
    reference = boxes_and_scores(axis)
    lost = np.moveaxis(reference.copy(), axis, 2)
    lost[..., 5] = 0
    found = distance(reference, np.moveaxis(lost, 2, axis), HALF)
    assert found.relative_l2 < 1e-3, "the whole is blind to it"
    assert not found.passed
    place = ", ".join("5" if a == axis else ":" for a in range(3))
    assert f"slice [{place}] alone is off by " in found.worst
    assert max(strains(reference, np.moveaxis(lost, 2, axis), HALF)) > 1


def test_each_part_rounded_to_half_passes() -> None:
    reference = boxes_and_scores(2)
    assert distance(reference, reference.astype(np.float16).astype(np.float32), HALF).passed


def test_what_is_allowed_is_judged_apart_from_the_fill_of_a_mask() -> None:
    logits = RANDOM.normal(0, 1, (4, 30)).astype(np.float32)
    logits[:, ::3] = -1e4
    wrong = np.where(logits == -1e4, logits, 0)
    found = distance(logits, wrong, HALF)
    assert found.relative_l2 < 1e-2
    assert not found.passed
    assert "all but the fill -10000 alone is off by 1 of its own size" in found.worst


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param(RANDOM.normal(0, 1, (8, 64)), id="alike"),
        pytest.param(
            RANDOM.normal(0, 1, (8, 64)) * RANDOM.uniform(0.1, 1, 64), id="channels-within-twenty-times"
        ),
        pytest.param(RANDOM.normal(5, 1, (8, 64)) * (np.arange(64) != 3), id="a-channel-that-is-dead"),
        pytest.param(np.maximum(RANDOM.normal(-3.2, 1, (8, 64)), 0), id="what-survives-a-relu-by-a-hair"),
        pytest.param(np.array([[1e3, 1e-3], [2e3, -1e-3]]), id="too-few-to-tell"),
        pytest.param(RANDOM.normal(0, 1, (8, 64)) + np.where(np.arange(64) == 1, 0, 300), id="a-large-mean"),
    ],
)
def test_no_part_of_what_is_small_by_chance_is_judged_apart(reference: np.ndarray) -> None:
    assert list(parts(reference, np.full_like(reference, 1e-3))) == []


def test_the_rounding_of_the_reference_beside_its_largest_part_is_no_error_of_a_small_one() -> None:
    reference = np.stack([RANDOM.normal(0, 1e6, 64), RANDOM.normal(0, 1e-2, 64)], 1)
    (part,) = parts(reference, np.full_like(reference, 1e-2))
    assert part.name == "slice [:, 1]"
    assert part.relative == 0


def test_a_bound_without_relation_to_size_is_not_asked_of_parts() -> None:
    reference = boxes_and_scores(2)
    assert distance(reference, reference + np.float32(0.4), Tolerance(atol=0.5)).passed
