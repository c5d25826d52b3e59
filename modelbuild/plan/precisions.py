"""The precisions that a recipe asks for, as values: how the files of each are made, and how far from
PyTorch they may be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelbuild.base.tolerance import DEFAULTS, Tolerance
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.precisions import Bf16, Fp16, Method, PrecisionName


@dataclass(frozen=True, kw_only=True)
class Precision:
    """One of them. ``name`` is that of its dtype, too; ``method`` is how it is made, and None of fp32, which
    is as PyTorch or the ONNX file has it. The rest are the knobs of a conversion, by the recipe's names;
    bounds that are None are those of the dtype."""

    name: PrecisionName
    tolerance: Tolerance
    method: Method | None = None
    keep_io_types: bool = True
    disable_shape_infer: bool = False
    op_block_list: tuple[str, ...] | None = None
    node_block_list: tuple[str, ...] = ()
    min_positive_val: float | None = None
    max_finite_val: float | None = None

    @property
    def is_exported(self) -> bool:
        """Whether PyTorch itself computes in it, so that it has an export of its own."""
        return self.method in (None, "half", "autocast")

    @property
    def search(self) -> Literal["mixed", "auto"] | None:
        """Its method, if that may look for the nodes that stay in fp32."""
        return self.method if self.method in ("mixed", "auto") else None


FP32 = Precision(name="fp32", tolerance=DEFAULTS["fp32"])
"""What others are converted from, where the recipe asks for no fp32 file."""


def precisions(recipe: Recipe) -> tuple[Precision, ...]:
    """Those to build: fp32 first, as the others are made from it."""
    asked = recipe.precision
    fp32 = () if asked.fp32 is None else (Precision(name="fp32", tolerance=_bounds("fp32", asked.fp32)),)
    return (*fp32, *(_reduced(name, knobs) for name, knobs in asked.reduced.items()))


def _reduced(name: PrecisionName, knobs: Fp16 | Bf16) -> Precision:
    bounds = {}
    if isinstance(knobs, Fp16):
        bounds = {"min_positive_val": knobs.min_positive_val, "max_finite_val": knobs.max_finite_val}
    return Precision(
        name=name,
        tolerance=_bounds(name, knobs),
        method=knobs.method,
        keep_io_types=knobs.keep_io_types,
        disable_shape_infer=knobs.disable_shape_infer,
        op_block_list=_set(knobs.op_block_list),
        node_block_list=_set(knobs.node_block_list) or (),
        **bounds,
    )


def _bounds(name: PrecisionName, knobs: Any) -> Tolerance:
    return Tolerance.of(knobs.tolerance.model_dump(exclude_none=True)).filled(name)


def _set(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """In one order: another order in the recipe is not another result."""
    return None if names is None else tuple(sorted(set(names)))
