"""`tolerance` and `verify`: how what is made is compared with PyTorch, and how far it may be from it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from modelbuild.recipe.schema.part import Part
from modelbuild.recipe.words import Import, Number, Patterns, Seed, Text, Whole


class Bounds(Part):
    """How far an output may be from PyTorch's. Those named must all hold."""

    rtol: Annotated[Number, Field(ge=0)] | None = Field(
        default=None,
        description="The relative part of a bound for every element: |error| <= atol + rtol * |PyTorch's "
        "value|, as in numpy.allclose.",
        examples=[1e-3],
    )
    atol: Annotated[Number, Field(ge=0)] | None = Field(
        default=None,
        description="The absolute part of the bound that `rtol` tells of. Of the two, one that is not "
        "named is 0.",
    )
    relative_l2: Annotated[Number, Field(ge=0)] | None = Field(
        default=None,
        description="At most this much error over the whole output: norm(error) / norm(PyTorch's output). "
        "0.01 is one percent.",
    )
    cosine: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="At least this cosine similarity of the output and PyTorch's: 1 where they point the "
        "same way.",
    )
    sqnr: Annotated[Number, Field(gt=0)] | None = Field(
        default=None,
        description="At least this many dB between signal and noise, as quantisation is often judged. 40 "
        "is a relative_l2 of 1e-2.",
    )
    mismatch: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="For outputs of integers or bools that floats decide (argmax, top-k, a comparison): "
        "the share of elements that may differ. 0.01 is one in a hundred.",
    )
    conditioning: Annotated[Number, Field(gt=0)] | None = Field(
        default=None,
        description="For fp32 models that magnify rounding: where the other bounds do not hold, this many "
        "times PyTorch's own error (its float32 against its float64) is allowed.",
    )

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, data: Any) -> Any:
        """numpy's defaults for the missing one would be a bound that nobody wrote."""
        if isinstance(data, dict) and (data.get("rtol") is None) != (data.get("atol") is None):
            named = data.get("rtol") is not None
            return {**data, ("atol" if named else "rtol"): 0.0}
        return data

    def named(self) -> dict[str, float]:
        """The bounds that are set."""
        return self.model_dump(exclude_none=True, exclude={"outputs"})


class TolerancePart(Bounds):
    """How far an artifact may be from PyTorch. Those named must all hold."""

    outputs: dict[Text, Bounds] | None = Field(
        default=None,
        description="By the name of an output: bounds for it alone, which hold instead of those above.",
        examples=[{"boxes": {"atol": 0.5}, "classes": {"mismatch": 0.02}}],
    )


class VerifyPart(Part):
    """How every artifact is compared with PyTorch."""

    samples: Annotated[Whole, Field(ge=1)] = Field(
        default=20,
        description="How many random inputs are compared at each size, at most: fewer of a large model, "
        "which is said then.",
    )
    seed: Seed = Field(default=0, description="The seed of these random inputs.")
    data: Patterns = Field(
        default=(),
        description="Real inputs that are compared, too: .npz files with arrays named as the inputs, or "
        ".npy where there is one input. Globs, relative to the recipe.",
        examples=["samples/*.npz"],
    )
    function: Import | None = Field(
        default=None,
        description="`module:function`, a check of your own beside the tolerances: called with the "
        "outputs of PyTorch and those of the file, each a list of arrays in the order of the "
        "outputs; it returns whether they are near enough.",
        examples=["my_checks:close_enough"],
    )
