"""Drafts whose export was tried: an axis that only PyTorch keeps free is fixed, and it is said why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelbuild.recipe.loading import parse
from modelbuild.setup import drafting
from modelbuild.setup.drafting import asked

NETS = """
import torch
from torch import nn

class Free(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(5, 4)
    def forward(self, rows):
        return self.last(rows)

class Counts(Free):
    def forward(self, rows):
        return self.last(rows) * int(rows.shape[0])

class Loops(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(11, 4)
    def forward(self, ids):
        return torch.stack([self.words(ids[:, i]) for i in range(ids.shape[1])], 1)

class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
    def forward(self, image):
        return self.conv(image) * (2 if image.shape[2] > 200 else 1)

class Refused(Free):
    def forward(self, rows):
        if bool(rows.sum() > 0):
            return self.last(rows)
        return self.last(-rows)
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module ``exported_nets`` in the current folder, and nowhere on the path."""
    (tmp_path / "exported_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("exported_nets", None)


def draft(model: str, *inputs: str, exports: float = 10) -> str:
    return drafting.draft(f"exported_nets:{model}", 20, asked.of_options(None, inputs), exports)


def test_what_exports_as_it_runs_is_left_free() -> None:
    text = draft("Free")
    assert "rows: {shape: [batch, 5]}" in text
    assert "fixed" not in text


def test_an_axis_that_the_exporter_fixes_is_a_number_with_the_exporters_reason() -> None:
    text = draft("Loops")
    assert "  ids: {shape: [batch, 16], dtype: int64, values: {low: 0, high: 11}}" in text
    assert "# `sequence` fixed: exported with other sizes, " in text
    assert list(parse(text, "draft.yaml", "draft").dynamic_axes) == ["batch"]


def test_where_forward_takes_another_path_at_one_side_both_sides_are_fixed() -> None:
    text = draft("Steps")
    assert "  image: {shape: [batch, 3, 224, 224]}" in text
    assert (
        "# `height`, `width` fixed: exported with other sizes, forward() takes another path at height="
        in text
    )


def test_an_axis_that_its_owner_named_stays_and_what_is_wrong_with_it_is_said() -> None:
    text = draft("Loops", "ids:batchxlength")
    assert "ids: {shape: [batch, length]" in text
    assert "# check: its export fails: " in text


def test_a_model_that_exports_at_no_size_is_left_as_it_runs_and_it_is_said() -> None:
    text = draft("Refused")
    assert "rows: {shape: [batch, 5]}" in text
    assert "# check: its export fails, also with its axes fixed: " in text


def test_where_there_is_no_time_for_an_export_sides_are_fixed_and_it_is_said() -> None:
    text = draft("Steps", exports=1e-4)
    assert "  image: {shape: [batch, 3, 224, 224]}" in text
    assert "# `height`, `width` fixed: to export it with other sizes, it takes more than 0 s\n" in text
    assert "# whether it can be exported was not tried to its end: " in text
