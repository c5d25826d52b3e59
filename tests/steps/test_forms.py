"""What may stand for a model beside a plain module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modelbuild.base.errors import StepError
from modelbuild.steps import forms
from modelbuild.steps.model import LiveModel, ModelSource
from modelbuild.trace.recording import Trace


class Around(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x) * 3


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    return torch.export.export(nn.Linear(4, 2), (torch.ones(3, 4),))


@pytest.mark.parametrize("form", ["program", "module", "inside"])
def test_an_exported_program_is_put_to_sleep_though_it_refuses_to(
    program: torch.export.ExportedProgram, form: str
) -> None:
    made = program if form == "program" else program.module()
    module = forms.as_module(Around(program.module()) if form == "inside" else made)
    assert module is not None
    forms.asleep(module)
    assert not any(m.training for m in module.modules())
    assert module.train(False) is module
    factor = 3 if form == "inside" else 1
    torch.testing.assert_close(module(torch.ones(3, 4)), factor * program.module()(torch.ones(3, 4)))


def test_a_program_in_a_file_is_the_model_and_its_bytes_are_a_fact(
    program: torch.export.ExportedProgram, tmp_path: Path
) -> None:
    torch.export.save(program, tmp_path / "net.pt2")
    source = ModelSource("torch.export:load", ("net.pt2",))
    assert source.declared(tmp_path) == (tmp_path / "net.pt2",)
    model = LiveModel.make(source, tmp_path, Trace(tmp_path))
    (got,) = model.call(["input"], [torch.ones(3, 4)])
    torch.testing.assert_close(got, program.module()(torch.ones(3, 4)))


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        (
            ModelSource("torch.export:load", ("other.pt2",)),
            "calling `torch.export:load` failed",
            "is it what torch.export.save() wrote?",
        ),
        (
            ModelSource("torch.nn:Linear", (4, 2), weights="net.pt2"),
            "cannot load weights net.pt2",
            "it is a whole model: `model: {import: torch.export:load, args: [net.pt2]}`",
        ),
    ],
)
def test_a_file_that_is_no_program_or_is_given_as_weights_is_told(
    source: ModelSource, message: str, hint: str, program: torch.export.ExportedProgram, tmp_path: Path
) -> None:
    torch.export.save(program, tmp_path / "net.pt2")
    torch.save({"weight": torch.ones(2, 4)}, tmp_path / "other.pt2")
    with pytest.raises(StepError) as caught:
        LiveModel.make(source, tmp_path, Trace(tmp_path))
    (said,) = caught.value.diagnostics
    assert said.message.startswith(message)
    assert said.hint == hint


def test_a_module_whose_eval_fails_is_import_failed() -> None:
    class Stays(nn.Module):
        def train(self, mode: bool = True) -> Any:
            raise RuntimeError("this one is never put to sleep")

    with pytest.raises(StepError) as caught:
        forms.asleep(Stays())
    (said,) = caught.value.diagnostics
    assert said.code == "import-failed"
    what, _, where = said.message.partition(" (test_forms.py:")
    assert what == "eval() of a `Stays` fails: RuntimeError: this one is never put to sleep"
    assert where.endswith(" in train)")


@pytest.mark.parametrize(
    ("module", "given"),
    [
        (nn.Linear(4, 2), torch.ones(1, 4)),
        (nn.Conv2d(3, 2, 1), torch.ones(1, 3, 2, 2)),
        (nn.ConvTranspose1d(3, 2, 1), torch.ones(1, 3, 2)),
        (nn.GRU(4, 2), torch.ones(1, 4)),
        (nn.Bilinear(4, 4, 2), (torch.ones(1, 4), torch.ones(1, 4))),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_that_are_half_are_named_where_inputs_are_not(
    module: nn.Module, given: Any, dtype: torch.dtype
) -> None:
    module = module.to(dtype)
    with pytest.raises((RuntimeError, ValueError)) as caught:
        module(*given) if isinstance(given, tuple) else module(given)
    hint = forms.hint_of_half(module, caught.value)
    assert hint.startswith(f"its weights are {str(dtype)[6:]}: make it float32")
    assert forms.hint_of_half(module.float(), caught.value) == ""
    assert forms.hint_of_half(module.to(dtype), IndexError("index out of range")) == ""
