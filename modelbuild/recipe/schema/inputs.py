"""`inputs` and `dynamic_axes`: what the model takes, and at which sizes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from modelbuild.recipe.schema.part import Part
from modelbuild.recipe.words import Dimension, Number, Size

DType = Literal["float32", "float16", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]


class InputValues(Part):
    """How an input is filled: one of {low, high}, {mean, std} and {constant}."""

    low: Number | None = Field(
        default=None,
        description="With `high`: values are drawn evenly from low (included) to high (excluded).",
    )
    high: Number | None = Field(
        default=None,
        description="With `low`: where the values end. Of integers this one is not drawn: 30522 for ids 0 "
        "to 30521.",
    )
    mean: Number | None = Field(default=None, description="With `std`: the mean of a normal distribution.")
    std: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, description="With `mean`: the standard deviation of a normal distribution."
    )
    constant: Number | None = Field(default=None, description="Every element is this.")


class InputSpec(Part):
    """One ONNX input."""

    shape: tuple[Dimension, ...] = Field(
        description="The size of each axis: a number where it is fixed, a name of `dynamic_axes` where it "
        "may change. [] is a scalar.",
        examples=[["batch", 3, 224, 224], ["batch", "sequence"]],
    )
    dtype: DType = Field(default="float32", description="The type of its elements.")
    values: InputValues | None = Field(
        default=None,
        description="What real values look like: the proof draws random ones like these. By default "
        "floats are normal(0, 1), integers 0 or 1, bools both.",
        examples=[{"low": 0, "high": 30522}, {"mean": 0.5, "std": 0.25}, {"constant": 1}],
    )


class AxisRange(Part):
    """The sizes of an axis: 1 <= min <= opt <= max."""

    min: Size = Field(description="The smallest size that will be used.")
    opt: Size = Field(description="The usual size, which engines are tuned for.")
    max: Size = Field(description="The largest size that will be used.")
