"""What is said of a model that cannot be exported at varying sizes, and of one that cannot be at all."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modelbuild.base.errors import Refusal, StepError
from modelbuild.base.tensors import TensorSpec
from modelbuild.steps.export import Export
from modelbuild.steps.model import LiveModel, ModelSource


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """The step turns the collector off, as its process ends with it."""
    yield
    gc.enable()


class Loop(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([row.cumsum(0) for row in x])


class Spelled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(f"{x.shape[0]:d}")


class Grouped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(4, 6) * 2  # a batch of 4


class NoOperator(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


class OnValues(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum() > 0 else x


class NeedsSingle(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.ones(6, 6)


def _wrong(module: nn.Module, out: Path, *, batch: int | None = None, **knobs: Any) -> StepError:
    """What the export of a model raises whose batch is free, or this one."""
    step = Export(
        source=ModelSource("none"),
        inputs=(TensorSpec("x", "float32", (batch or "batch", 6)),),
        outputs=None,
        traced={} if batch else {"batch": 2},
        ranges={} if batch else {"batch": (1, 8)},
        opset=18,
        exporter="dynamo",
        constant_folding=True,
        **knobs,
    )
    model = LiveModel(module.eval(), ModelSource("none"), Path(__file__).parent, None)  # type: ignore[arg-type]
    with pytest.raises(StepError) as raised:
        step.run_beside(model, {}, out)
    return raised.value


@pytest.mark.parametrize(
    ("module", "code", "said", "lasting"),
    [
        pytest.param(Loop(), "baked-axis", "axis `batch` of input `x` is fixed at 2", True, id="a-loop"),
        pytest.param(Spelled(), "export-failed", "unsupported format string", True, id="no-symbol-for-it"),
        pytest.param(Grouped(), "export-failed", "fails in PyTorch itself", False, id="another-size-needed"),
    ],
)
def test_what_is_wrong_with_varying_sizes_alone_is_a_refusal(
    tmp_path: Path, module: nn.Module, code: str, said: str, lasting: bool
) -> None:
    error = _wrong(module, tmp_path)
    assert isinstance(error, Refusal)
    assert [d.code for d in error.diagnostics] == [code]
    assert said in error.diagnostics[0].message
    assert error.data.get("lasting", True) == lasting
    assert error.data.get("axes") == (["batch"] if code == "baked-axis" else None)


@pytest.mark.parametrize("module", [NoOperator(), OnValues()], ids=["no-operator", "a-branch-on-values"])
def test_what_no_size_would_mend_is_none(tmp_path: Path, module: nn.Module) -> None:
    error = _wrong(module, tmp_path)
    assert not isinstance(error, Refusal)
    assert [d.code for d in error.diagnostics] == ["export-failed"]


def test_a_model_that_fails_only_in_half_is_wrong_in_half_at_every_size(tmp_path: Path) -> None:
    assert not isinstance(_wrong(NeedsSingle(), tmp_path, precision="half"), Refusal)
    assert isinstance(_wrong(Grouped(), tmp_path, precision="half"), Refusal)


def test_nothing_varies_in_a_variant_whose_sizes_are_all_fixed(tmp_path: Path) -> None:
    assert not isinstance(_wrong(Grouped(), tmp_path, batch=2), Refusal)
