"""Rows of sizes that PyTorch refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelbuild.base.errors import Refusal, StepError
from modelbuild.base.tensors import Axis, TensorSpec, sampled_sizes, traced_sizes
from modelbuild.steps.reference import Sampling, load, record

AXES = (Axis("queries", 4, 5, 9), Axis("keys", 4, 7, 12))
INPUTS = (TensorSpec("q", "float32", ("queries",)), TensorSpec("k", "float32", ("keys",)))


def recorded(out: Path, fits: Any) -> tuple[list[dict[str, int]], list[str]]:
    def call(arrays: Any) -> list[Any]:
        if not fits(arrays["q"].size, arrays["k"].size):
            raise ValueError("no such shapes")
        return [arrays["q"] * 2]

    rows = sampled_sizes(AXES, traced_sizes(AXES))
    said, counts = record(Sampling(INPUTS, AXES, rows, 2, 0), call, Path(), out, 1.0)
    return [c["sizes"] for c in counts], [d.message for d in said]


def test_an_order_of_two_axes_that_the_model_refuses_is_left_out_and_said(tmp_path: Path) -> None:
    sizes, said = recorded(tmp_path, lambda q, k: q <= k)
    assert len(sizes) == 4
    assert said == ["PyTorch refuses queries=6, keys=5 (ValueError: no such shapes); not compared there"]


def test_a_size_that_the_model_refuses_in_its_usual_order_is_the_recipes_fault(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="the model itself fails at queries=9, keys=12"):
        recorded(tmp_path, lambda q, k: k < 12)


# ---- refused at some sizes ---------------------------------------------------------------------

BATCH = TensorSpec("x", "float32", ("batch", 6))
ROWS = ({"batch": 1}, {"batch": 3}, {"batch": 4}, {"batch": 8})


def _run(out: Path, fits: Any, sampling: Sampling) -> list[int]:
    """The batches that were kept of a model that takes only those that ``fits`` says."""
    error = ValueError("no such shape")
    kept = []

    def call(arrays: Any) -> list[Any]:
        if (why := fits(len(arrays["x"]))) is not True:
            raise why or error
        return [arrays["x"] * 2]

    record(sampling, call, out, out, 1.0)
    for _, arrays, _ in load(out):
        kept.append(len(arrays["x"]))
    return kept


def test_a_model_that_takes_some_sizes_is_refused_with_those_at_which_it_fails(tmp_path: Path) -> None:
    sampling = Sampling((BATCH,), (Axis("batch", 1, 4, 8),), ROWS, 1, 0)
    with pytest.raises(Refusal, match="the model itself fails at batch=1: ValueError") as refused:
        _run(tmp_path, lambda n: n % 4 == 0, sampling)
    assert refused.value.data == {
        "fails": [{"batch": 1}, {"batch": 3}], "lasting": True,
        "fault": "ValueError: no such shape (test_sampled_rows.py:N in call)",
    }  # fmt: skip


def test_a_model_that_takes_no_size_is_wrong_and_not_refused(tmp_path: Path) -> None:
    sampling = Sampling((BATCH,), (Axis("batch", 1, 4, 8),), ROWS, 1, 0)
    with pytest.raises(StepError, match="the model itself fails at batch=1") as wrong:
        _run(tmp_path, lambda n: False, sampling)
    assert not isinstance(wrong.value, Refusal)


@pytest.mark.parametrize(
    "why", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), OSError("no network")]
)
def test_what_the_machine_may_have_another_time_is_no_lasting_refusal(tmp_path: Path, why: Exception) -> None:
    sampling = Sampling((BATCH,), (Axis("batch", 1, 4, 8),), ROWS, 1, 0)
    with pytest.raises(Refusal) as refused:
        _run(tmp_path, lambda n: n < 8 or why, sampling)
    assert not refused.value.data["lasting"]


def test_of_the_recipes_own_inputs_a_variant_is_compared_with_those_of_its_size(tmp_path: Path) -> None:
    for batch in (4, 8):
        np.savez(tmp_path / f"real{batch}.npz", x=np.ones((batch, 6), "float32"))
    sampling = Sampling((BATCH,), (), ({"batch": 4},), 1, 0, ("real*.npz",))
    assert _run(tmp_path, lambda n: n == 4, sampling) == [4, 4]
