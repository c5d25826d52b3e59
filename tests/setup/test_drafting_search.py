"""Drafts of models with several inputs of which no name tells anything: found by how far the model comes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelbuild.recipe.loading import parse
from modelbuild.setup import drafting

NETS = """
import torch
from torch import nn

class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.time, self.head = nn.Linear(16, 64), nn.Conv2d(4, 16, 3, padding=1)
        self.shift, self.context = nn.Linear(64, 16), nn.Linear(24, 16)
    def forward(self, noisy, when, context):
        angles = when.float()[:, None] * torch.arange(8)
        hidden = self.head(noisy)
        hidden = hidden + self.shift(self.time(torch.cat([angles.sin(), angles.cos()], -1)))[:, :, None, None]
        return hidden + self.context(context).mean(1)[:, :, None, None]

class Field(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(39, 16), nn.Linear(16 + 39, 4)
    def encoded(self, x):
        return torch.cat([x] + [f(2.0**n * x) for n in range(6) for f in (torch.sin, torch.cos)], -1)
    def forward(self, places, views):
        return self.last(torch.cat([self.first(self.encoded(places)), self.encoded(views)], -1))

class Masks(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(5, 5)
    def forward(self, rows, noise=None):
        noise = torch.rand(rows.shape) if noise is None else noise
        return self.last(rows) * (noise > 0.5)
"""


@pytest.fixture(autouse=True)
def _nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "searched_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    yield
    sys.path[:] = before
    sys.modules.pop("searched_nets", None)


def _draft(model: str) -> tuple[str, dict[str, tuple[int | str, ...]]]:
    text = drafting.draft(f"searched_nets:{model}", 30, exports=0)
    return text, {name: tuple(given.shape) for name, given in parse(text, "net.yaml", "net").inputs.items()}


def test_each_input_is_found_by_itself_where_the_model_comes_farther_with_it() -> None:
    text, shapes = _draft("Denoiser")
    assert "the inputs below are guesses" not in text
    assert shapes["noisy"][:2] == ("batch", 4)
    assert shapes["when"] == ("batch",)
    assert shapes["context"][-1] == 24


def test_coordinates_that_are_encoded_before_the_first_layer_are_three() -> None:
    assert _draft("Field")[1] == {"places": ("batch", 3), "views": ("batch", 3)}


def test_an_input_that_stands_for_random_numbers_is_given() -> None:
    text, shapes = _draft("Masks")
    assert "draws random numbers" not in text
    assert shapes == {"rows": ("batch", 5), "noise": ("batch", 5)}
