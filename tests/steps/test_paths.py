"""A graph that holds one path of forward(), against a forward() that takes several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from modelbuild.base.errors import StepError
from modelbuild.base.tensors import TensorSpec
from modelbuild.steps import paths, samples, tracing
from modelbuild.steps.model import LiveModel, ModelSource
from modelbuild.steps.paths import Exported

X = TensorSpec("x", "float32", ("batch", "length"))
RANGES = {"batch": (1, 300), "length": (4, 1000)}
TRACED = {"batch": 2, "length": 5}


class Branching(nn.Module):
    """Twice its input, but for what ``odd`` makes of it."""

    def __init__(self, odd: Callable[[Any, int, int], Any]) -> None:
        super().__init__()
        self.odd = odd

    def forward(self, x: Any) -> Any:
        return self.odd(x, *x.shape) * 2


@pytest.fixture
def doubling(tmp_path: Path) -> Path:
    """A graph that doubles: the path at the traced sizes."""
    shape = ["batch", "length"]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    path = tmp_path / "doubling.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


def compared(path: Path, odd: Callable[[Any, int, int], Any], assumed: list[str] | None = None) -> list[str]:
    model = LiveModel(Branching(odd).eval(), ModelSource("none"), Path(), None)  # type: ignore[arg-type]
    of = Exported(model, [X], samples.as_tensors, RANGES, TRACED, path)
    if assumed is None:
        values = samples.as_tensors(samples.random_inputs([X], TRACED, (0, 1)))
        assumed = tracing.assumptions(model, [X], values)
        assert assumed is not None
    return paths.compared(of, assumed)


def one_size(x: Any, batch: int, length: int) -> Any:
    return x + 1 if length == 777 else x


def wide(x: Any, batch: int, length: int) -> Any:
    return x + 1 if batch > length else x


def square(x: Any, batch: int, length: int) -> Any:
    return x + 1 if batch == length and batch > 100 else x


def area(x: Any, batch: int, length: int) -> Any:
    return x + 1 if batch * length > 90_000 else x


def root(x: Any, batch: int, length: int) -> Any:
    return x + 1 if int(length**0.5) == 13 else x


def week(x: Any, batch: int, length: int) -> Any:
    return x + 1 if length % 7 == 1 else x


def behind_a_harmless_one(x: Any, batch: int, length: int) -> Any:
    if length > 64:
        x = torch.relu(x) - torch.relu(-x)
        if length > 128:
            x = x.t().t()
            if 400 < length < 410:
                return x + 1
    return x


def after_many_harmless_ones(x: Any, batch: int, length: int) -> Any:
    for n in range(100, 600, 20):
        x = x.t().t() if length % n == 50 else x
    return x + 1 if length == 801 else x


@pytest.mark.parametrize(
    ("odd", "at"),
    [
        (one_size, "length=777 than at the traced length=5"),
        (wide, "than at the traced batch=2, length=5"),
        (square, "than at the traced batch=2, length=5"),
        (area, "than at the traced batch=2, length=5"),
        (root, "length=169 than at the traced length=5"),
        (week, "length=8 than at the traced length=5"),
        (behind_a_harmless_one, "length=408 than at the traced length=5"),
        (after_many_harmless_ones, "length=801 than at the traced length=5"),
    ],
)
def test_a_branch_that_makes_a_difference_is_found(doubling: Path, odd: Any, at: str) -> None:
    with pytest.raises(StepError) as raised:
        compared(doubling, odd)
    (said,) = raised.value.diagnostics
    assert said.code == "baked-axis"
    assert "forward() takes another path at " in said.message
    assert f"{at}, and the graph holds only the traced one" in said.message


def harmless(x: Any, batch: int, length: int) -> Any:
    return (x.t() + 0).t() if length > 64 and batch < 9 else x


def refused(x: Any, batch: int, length: int) -> Any:
    if length > 64:
        raise ValueError("too long")
    return x


@pytest.mark.parametrize("odd", [harmless, refused, lambda x, batch, length: x])
def test_a_branch_that_makes_none_is_let_pass(doubling: Path, odd: Any) -> None:
    assert compared(doubling, odd) == []


def test_what_was_not_looked_at_is_said(doubling: Path) -> None:
    guards = ["L['x'].stride()[0] == 4", *(f"L['x'].size()[1] != {n}" for n in range(100, 154))]
    unproven = compared(doubling, lambda x, batch, length: x, guards)
    assert unproven[0] == "where `L['x'].stride()[0] == 4` fails: it is no plain arithmetic on sizes"
    assert unproven[1:] == [f"where `L['x'].size()[1] != {n}` fails" for n in range(148, 154)]
