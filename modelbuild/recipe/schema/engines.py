"""`engines`: what TensorRT or TensorRT-RTX builds of the files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modelbuild.recipe.schema.inputs import AxisRange
from modelbuild.recipe.schema.part import Part
from modelbuild.recipe.schema.precisions import PrecisionName
from modelbuild.recipe.words import AxisName, Bytes, Flag, Size, Targets, Whole


class Builder(Part):
    """The engine builder's knobs; what is not named is left to the builder."""

    optimization_level: Annotated[Whole, Field(ge=0, le=5)] | None = Field(
        default=None,
        description="How long the builder looks for fast kernels, where 0 builds fastest and 5 runs fastest.",
    )
    workspace: Bytes | None = Field(
        default=None,
        description="The most memory that a kernel may use, as `4GiB` or in bytes.",
        examples=["4GiB"],
    )
    tf32: Flag = Field(
        default=True,
        description="Whether float32 matrix products may use TF32, which is faster and has 10 bits of "
        "precision.",
    )


class Engine(Part):
    """One TensorRT engine."""

    precision: PrecisionName = Field(
        description="From which file the engine is made: one of those under `precision`."
    )
    backend: Literal["tensorrt", "tensorrt-rtx"] = Field(
        default="tensorrt-rtx",
        description="What builds it: TensorRT for the GPU that is there, or TensorRT-RTX, which needs "
        "none to build.",
    )
    variant: dict[AxisName, Size] = Field(
        default={},
        description="Made from this static variant, which is one of `static`; {}: from the file with "
        "dynamic axes.",
        examples=[{"batch": 1}],
    )
    profiles: Annotated[tuple[dict[AxisName, AxisRange], ...], Field(min_length=1)] | None = Field(
        default=None,
        description="The ranges of sizes that the engine takes, and the size in each that it is tuned "
        "for: TensorRT's optimization profiles. By axis; one that is left out is as in "
        "`dynamic_axes`. Each profile makes the engine larger.",
        examples=[[{"batch": {"min": 1, "opt": 8, "max": 32}}]],
    )
    targets: Targets = Field(
        default=(),
        description="For tensorrt-rtx: the compute capabilities of the GPUs that the engine is for, as "
        "`sm89` for an RTX 4090. The order does not matter; by default all from Ampere on, "
        "without Turing (`sm75`).",
        examples=[["sm86", "sm89"]],
    )
    builder: Builder = Field(default=Builder(), description="Settings of the builder.")
