"""Which input is which argument of forward()."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modelbuild.base.errors import StepError
from modelbuild.base.tensors import TensorSpec
from modelbuild.steps import forms
from modelbuild.steps.binding import bind, dynamic_shapes, spell_out
from modelbuild.steps.export import Export
from modelbuild.steps.model import ModelSource


class Forward(nn.Module):
    def forward(self, a: Any, b: Any, c: Any = None) -> None: ...


class Open(nn.Module):
    def forward(self, first: Any, *rest: Any) -> None: ...


class Wrapper(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> None: ...


class AnyName(nn.Module):
    def forward(self, **batch: Any) -> Any:
        return batch["x"] - 2 * batch["y"]


@pytest.mark.parametrize(
    ("module", "names", "bound"),
    [
        pytest.param(Forward(), ["c", "a", "b"], ((), {"a": 2, "b": 3, "c": 1}), id="by-name-in-any-order"),
        pytest.param(Forward(), ["image", "mask"], ((1, 2), {}), id="by-position"),
        pytest.param(Open(), ["x", "y", "z"], ((1, 2, 3), {}), id="into-star-args"),
        pytest.param(Wrapper(), ["x", "y"], ((1, 2), {}), id="a-wrapper-by-position"),
        pytest.param(AnyName(), ["x", "y"], ((), {"x": 1, "y": 2}), id="into-keywords-alone"),
    ],
)
def test_inputs_are_passed_by_name_or_by_position(module: nn.Module, names: list[str], bound: Any) -> None:
    assert bind(module, names, list(range(1, len(names) + 1))) == bound


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "x"], "`x`: not a parameter of forward(a, b, c), while `a` is"),
        (["a"], "forward(a, b, c) also needs `b`"),
        (["x"], "forward(a, b, c) also needs `b`"),
        (["w", "x", "y", "z"], "the recipe has 4 inputs, forward(a, b, c) takes 3"),
    ],
)
def test_inputs_that_forward_cannot_take_are_a_mismatch(names: list[str], message: str) -> None:
    with pytest.raises(StepError) as caught:
        bind(Forward(), names, names)
    (said,) = caught.value.diagnostics
    assert (said.code, said.message) == ("inputs-mismatch", message)


@pytest.mark.parametrize(
    ("module", "names", "shapes"),
    [
        (Forward(), ["c", "a", "b"], {"a": 2, "b": 3, "c": 1}),
        (Forward(), ["image", "mask"], (1, 2)),
        (Open(), ["x", "y", "z"], (1, (2, 3))),
        (Wrapper(), ["x", "y"], ((1, 2),)),
    ],
)
def test_dynamic_shapes_are_in_the_form_of_the_arguments(module: nn.Module, names: Any, shapes: Any) -> None:
    assert dynamic_shapes(module, names, list(range(1, len(names) + 1))) == shapes


def test_a_forward_of_keywords_alone_takes_positions_once_the_names_are_known() -> None:
    module = AnyName()
    spell_out(module, ["y", "x"])
    assert bind(module, ["y", "x"], [1, 2]) == ((1, 2), {})
    assert module(1, 2) == 0


class Two(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x - 2 * y


def _program(by_position: int) -> torch.export.ExportedProgram:
    given = {n: torch.ones(3, 4) for n in ("x", "y")}
    rows = torch.export.Dim.DYNAMIC
    return torch.export.export(
        Two(), tuple(given.values())[:by_position], dict(list(given.items())[by_position:]),
        dynamic_shapes={"x": {0: rows}, "y": {0: rows}},
    )  # fmt: skip


@pytest.fixture(scope="module", params=[0, 1, 2])
def program(request: pytest.FixtureRequest) -> nn.Module:
    """An exported program that was made with so many arguments by position, and the others by name."""
    module = forms.as_module(_program(request.param))
    assert module is not None
    assert forms.made_with(module) == request.param
    return forms.asleep(module)


@pytest.mark.parametrize("names", [["x", "y"], ["y", "x"], ["left", "right"]])
def test_an_exported_program_is_called_as_it_was_made(program: nn.Module, names: list[str]) -> None:
    given = {"x": 7.0, "left": 7.0, "y": 2.0, "right": 2.0}
    args, kwargs = bind(program, names, [torch.full((5, 4), given[n]) for n in names])
    assert program(*args, **kwargs).unique().tolist() == [3]


@pytest.mark.parametrize("writer", ["dynamo", "torchscript"])
def test_an_exported_program_gives_a_file_with_the_recipes_names_and_axes(
    program: nn.Module, writer: str, tmp_path: Path
) -> None:
    specs = tuple(TensorSpec(n, "float32", ("rows", 4)) for n in ("left", "right"))
    step = Export(
        source=ModelSource("a:b"),
        inputs=specs,
        outputs=None,
        traced={"rows": 3},
        ranges={"rows": (1, 8)},
        opset=18,
        exporter="auto",
        constant_folding=True,
    )
    graph = step._export(writer, program, [torch.ones(3, 4), torch.ones(3, 4)], tmp_path).proto.graph
    found = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in graph.input}
    assert found == {"left": ["rows", 4], "right": ["rows", 4]}
