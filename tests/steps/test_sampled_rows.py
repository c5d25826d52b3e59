"""Rows of sizes that PyTorch refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelbuild.errors import StepError
from modelbuild.steps.reference import Sampling, record
from modelbuild.tensors import Axis, TensorSpec, sampled_sizes, traced_sizes

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
