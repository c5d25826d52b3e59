"""The precisions that a recipe asks for, as values: how the files of each are made, and how far from
PyTorch they may be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from modelbuild.base.tolerance import DEFAULTS, Tolerance
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.precisions import (
    Bf16,
    Fp16,
    HalfName,
    Int8,
    Method,
    PrecisionName,
    Precisions,
    RangeMethod,
)


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """What is asked of int8 alone. ``half`` is how what stays out of it is converted; None: it is fp32."""

    op_types: tuple[str, ...]
    per_channel: bool
    reduce_range: bool
    data: tuple[str, ...]
    samples: int
    ranges: RangeMethod
    half: Precision | None


@dataclass(frozen=True, kw_only=True)
class Precision:
    """One of them. ``name`` is that of its dtype, too; ``method`` is how it is made, and None of fp32, which
    is as PyTorch or the ONNX file has it. The rest are the knobs of a conversion, by the recipe's names;
    bounds that are None are those of the dtype."""

    name: PrecisionName
    tolerance: Tolerance
    method: Method | Literal["static"] | None = None
    keep_io_types: bool = True
    disable_shape_infer: bool = False
    op_block_list: tuple[str, ...] | None = None
    node_block_list: tuple[str, ...] = ()
    min_positive_val: float | None = None
    max_finite_val: float | None = None
    quantization: Quantization | None = None

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
    halves: tuple[tuple[HalfName, Fp16 | Bf16 | None], ...] = (("fp16", asked.fp16), ("bf16", asked.bf16))
    int8 = () if asked.int8 is None else (_quantized(asked, asked.int8),)
    return (*fp32, *(_reduced(name, knobs) for name, knobs in halves if knobs is not None), *int8)


def _reduced(name: HalfName, knobs: Fp16 | Bf16) -> Precision:
    clamped = knobs if isinstance(knobs, Fp16) else None
    return Precision(
        name=name,
        tolerance=_bounds(name, knobs),
        method=knobs.method,
        keep_io_types=knobs.keep_io_types,
        disable_shape_infer=knobs.disable_shape_infer,
        op_block_list=_set(knobs.op_block_list),
        node_block_list=_set(knobs.node_block_list) or (),
        min_positive_val=clamped.min_positive_val if clamped else None,
        max_finite_val=clamped.max_finite_val if clamped else None,
    )


def _quantized(asked: Precisions, knobs: Int8) -> Precision:
    half = None
    if knobs.base == "fp16":
        half = replace(_reduced("fp16", asked.fp16 or Fp16()), keep_io_types=knobs.keep_io_types)
    return Precision(
        name="int8",
        tolerance=_bounds("int8", knobs),
        method=knobs.method,
        keep_io_types=knobs.keep_io_types,
        op_block_list=_set(knobs.op_block_list),
        node_block_list=_set(knobs.node_block_list) or (),
        quantization=Quantization(
            op_types=tuple(sorted(set(knobs.op_types))),
            per_channel=knobs.per_channel,
            reduce_range=knobs.reduce_range,
            data=tuple(knobs.calibration.data),
            samples=knobs.calibration.samples,
            ranges=knobs.calibration.method,
            half=half,
        ),
    )


def _bounds(name: PrecisionName, knobs: Any) -> Tolerance:
    return Tolerance.of(knobs.tolerance.model_dump(exclude_none=True)).filled(name)


def _set(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """In one order: another order in the recipe is not another result."""
    return None if names is None else tuple(sorted(set(names)))
