"""Where int8 ends, by a histogram: against the plain definition of each method."""

from __future__ import annotations

import numpy as np
import pytest

from modelbuild.graph.clipping import BINS, bins_kept

RNG = np.random.default_rng(0)
SHAPES = {
    "normal": np.abs(RNG.normal(size=40_000)),
    "laplace": np.abs(RNG.laplace(size=40_000)),
    "uniform": RNG.uniform(size=40_000),
    "outlier": np.append(np.abs(RNG.normal(size=40_000)), 60.0),
    "few": np.abs(RNG.normal(size=50)),
    "one": np.array([3.0]),
}


def histogram(values: np.ndarray, zeros: int = 0) -> np.ndarray:
    counts, _ = np.histogram(-values, bins=-np.linspace(0, values.max(), BINS + 1)[::-1])
    return np.append(zeros, counts[::-1])


def divergence(values: np.ndarray, end: int) -> float:
    """Kullback and Leibler's, as TensorRT's calibrator has it: the slow way, bin by bin."""
    counts = histogram(values)[1:].astype(float)
    reference = counts[:end].copy()
    if not reference.any():
        return np.inf
    reference[np.flatnonzero(reference)[-1]] += counts[end:].sum()
    told = np.zeros(end)
    for level in range(128):
        inside = slice(level * end // 128, (level + 1) * end // 128)
        filled = counts[inside] > 0
        if filled.any():
            told[inside][filled] = counts[inside].sum() / filled.sum()
    reference, told = reference / reference.sum(), told / told.sum()
    some = reference > 0
    return float((reference[some] * np.log(reference[some] / told[some])).sum())


def squared_error(values: np.ndarray, end: float) -> float:
    step = end / 127
    return float(((np.clip(np.rint(values / step), 0, 127) * step - values) ** 2).mean())


@pytest.mark.parametrize("name", SHAPES)
def test_entropy_ends_where_the_divergence_is_least(name: str) -> None:
    values = SHAPES[name]
    kept = bins_kept(histogram(values), "entropy")
    tried = [*range(128, BINS + 1, 64), kept]
    lost = {end: divergence(values, end) for end in tried if end}
    assert 128 <= kept <= BINS
    assert lost[kept] <= min(lost.values()) + 1e-9


@pytest.mark.parametrize("name", SHAPES)
def test_mse_ends_where_rounding_and_clipping_the_values_themselves_cost_least(name: str) -> None:
    values = SHAPES[name]
    width = values.max() / BINS
    kept = bins_kept(histogram(values), "mse")
    least = min(squared_error(values, end * width) for end in range(8, BINS + 1, 8))
    assert squared_error(values, kept * width) <= 1.05 * least + width**2 / 12


@pytest.mark.parametrize("name", SHAPES)
def test_the_percentile_is_numpys_to_the_width_of_a_bin(name: str) -> None:
    values = SHAPES[name]
    width = values.max() / BINS
    wanted = float(np.percentile(values, 99.99, method="inverted_cdf"))
    assert 0 <= bins_kept(histogram(values), "percentile") * width - wanted <= width * (1 + 1e-9)


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_zeros_have_no_say(method: str) -> None:
    values = SHAPES["laplace"]
    assert bins_kept(histogram(values, zeros=10**9), method) == bins_kept(histogram(values), method)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy", "mse"])
def test_of_nothing_but_zeros_all_is_kept(method: str) -> None:
    counts = np.zeros(BINS + 1, np.int64)
    counts[0] = 5
    assert bins_kept(counts, method) == BINS


def test_an_outlier_is_clipped_by_all_but_minmax_and_by_mse_where_that_costs_less() -> None:
    counts = histogram(SHAPES["outlier"])
    assert bins_kept(counts, "minmax") == BINS
    assert max(bins_kept(counts, "percentile"), bins_kept(counts, "entropy")) < BINS / 8
    many = histogram(np.append(np.tile(SHAPES["normal"], 20), 60.0))
    assert bins_kept(many, "mse") < bins_kept(counts, "mse") < BINS
