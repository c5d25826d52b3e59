"""What torch.export says of forward(), beside any export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelbuild.base import passing
from modelbuild.base.tensors import TensorSpec
from modelbuild.steps import scripts
from modelbuild.steps.binding import bind, dynamic_shapes
from modelbuild.steps.model import LiveModel

if TYPE_CHECKING:
    import torch


def assumptions(
    model: LiveModel, inputs: Sequence[TensorSpec], values: Sequence[torch.Tensor]
) -> list[str] | None:
    """The guards of a program that is traced with these values; None if there is no such program."""
    import torch

    module, names = model.module, [s.name for s in inputs]
    if scripts.is_script(module):
        return None
    dynamic = torch.export.Dim.AUTO
    axes = [{i: dynamic for i, d in enumerate(s.shape) if isinstance(d, str)} or None for s in inputs]
    args, kwargs = bind(module, names, values)
    shapes = dynamic_shapes(module, names, axes)
    try:
        with torch.set_grad_enabled(model.gradients):
            program = torch.export.export(
                module, args, kwargs, dynamic_shapes=shapes, strict=False,
                prefer_deferred_runtime_asserts_over_guards=False,
            )  # fmt: skip
    except Exception as error:
        passing.met(error)
        return None
    return list(program._guards_code)


def takes(model: LiveModel, inputs: Sequence[TensorSpec], values: Sequence[torch.Tensor]) -> bool:
    """Whether there is a program for these values' own sizes, whatever there is for others."""
    import torch

    fresh = [v.clone() for v in values]  # a failed export leaves marks of its axes on these
    args, kwargs = bind(model.module, [s.name for s in inputs], fresh)
    try:
        with torch.set_grad_enabled(model.gradients):
            torch.export.export(model.module, args, kwargs, strict=False)
    except Exception as error:
        passing.met(error)
        return False
    return True
