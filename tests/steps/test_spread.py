"""The histogram of errors, against one that numpy makes."""

from __future__ import annotations

import numpy as np
import pytest

from modelbuild.steps.spread import Spread


def spread(*pairs: tuple[object, object], dtype: type = np.float32) -> dict[str, object] | None:
    found = Spread()
    for reference, candidate in pairs:
        found.add(np.array(reference, dtype), np.array(candidate, dtype))
    return found.as_json()


def test_a_bin_is_from_a_power_of_two_to_the_next() -> None:
    assert spread(([0.0] * 6, [0.25, -0.26, 0.499, 0.5, 1.0, 0.0])) == {
        "smallest": 0.25,
        "counts": [3, 1, 1],
        "equal": 1,
    }


def test_several_inputs_are_counted_together() -> None:
    assert spread(([0.0], [1.0]), ([0.0, 0.0], [1.5, 4.0])) == {
        "smallest": 1.0,
        "counts": [2, 0, 1],
        "equal": 0,
    }


def test_it_counts_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((50, 40)).astype(np.float32)
    candidate = reference + rng.standard_normal((50, 40)).astype(np.float32) * 1e-3
    told = spread((reference, candidate))
    assert told is not None
    counts, smallest = np.array(told["counts"]), float(str(told["smallest"]))
    edges = smallest * 2.0 ** np.arange(len(counts) + 1)
    error = np.abs(candidate - reference).ravel()
    assert counts.tolist() == np.histogram(error[error > 0], edges)[0].tolist()


def test_errors_below_forty_bins_are_in_the_first() -> None:
    assert spread(([0.0] * 3, [1.0, 2.0**-39, 2.0**-60])) == {
        "smallest": 2.0**-39,
        "counts": [2, *[0] * 38, 1],
        "equal": 0,
    }


def test_what_is_equal_has_no_bins_and_what_is_not_finite_is_not_counted() -> None:
    same = ([1.0, np.inf, np.nan], [1.0, np.inf, np.nan])
    assert spread(same) == {"smallest": 2.0**-126, "counts": [], "equal": 1}
    assert spread(([1.0], [np.nan])) is None


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
def test_integers_are_equal_or_wrong_and_have_no_histogram(dtype: type) -> None:
    assert spread(([1, 0], [1, 1]), dtype=dtype) is None
