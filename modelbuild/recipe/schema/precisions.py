"""`precision`: the number formats to build, each with its knobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from modelbuild.base.tolerance import DEFAULTS
from modelbuild.recipe.schema.part import Part
from modelbuild.recipe.schema.proofs import TolerancePart
from modelbuild.recipe.words import Flag, Number, Patterns, Text, Whole

PrecisionName = Literal["fp32", "fp16", "bf16", "int8"]
ReducedName = Literal["fp16", "bf16", "int8"]
HalfName = Literal["fp16", "bf16"]
Method = Literal["convert", "half", "autocast", "mixed", "auto"]
BaseName = Literal["fp16", "fp32"]
RangeMethod = Literal["minmax", "percentile", "entropy", "mse"]

FP32_TOLERANCE, FP16_TOLERANCE, BF16_TOLERANCE, INT8_TOLERANCE = (
    TolerancePart.model_validate(DEFAULTS[name].named()) for name in ("fp32", "fp16", "bf16", "int8")
)


def _or(default: TolerancePart) -> AfterValidator:
    """Where no bound is named, the default; but one that is written as `{}` bounds nothing."""

    def filled(asked: TolerancePart) -> TolerancePart:
        if asked.named() or not asked.model_fields_set:
            return asked
        return TolerancePart(**default.named(), outputs=asked.outputs)

    return AfterValidator(filled)


class Fp32(Part):
    """The model as it is."""

    tolerance: Annotated[TolerancePart, _or(FP32_TOLERANCE)] = Field(
        default=FP32_TOLERANCE,
        description="How far the file may be from PyTorch; by default {rtol: 1e-3, atol: 1e-4, "
        "relative_l2: 1e-3, mismatch: 1e-3}.",
    )


class Reduced(Part):
    """What fp16 and bf16 have in common."""

    method: Method = Field(
        default="auto",
        description="How half precision is made: convert rewrites the fp32 ONNX file, mixed also searches "
        "for the nodes that must stay in fp32 to hold the tolerance, auto converts and takes "
        "mixed where that overflows or breaks the tolerance, half exports model.half(), and "
        "autocast exports under torch.autocast.",
    )
    keep_io_types: Flag = Field(
        default=True,
        description="Whether inputs and outputs stay float32, with casts inside; else they are in half "
        "precision, too.",
    )
    disable_shape_infer: Flag = Field(
        default=False,
        description="Whether to convert without shape inference first, which cannot take models over 2 GB.",
    )
    op_block_list: tuple[Text, ...] | None = Field(
        default=None,
        description="Operator types of which every node stays in fp32; by default onnxconverter-common's "
        "list.",
        examples=[["Softmax", "LayerNormalization"]],
    )
    node_block_list: tuple[Text, ...] = Field(
        default=(),
        description="Names of single nodes that stay in fp32, as `modelbuild inspect --nodes` has them.",
        examples=[["node_mean", "node_mul_5"]],
    )


class Fp16(Reduced):
    """float16. Six of the knobs have onnxconverter-common's names and meanings."""

    min_positive_val: Annotated[Number, Field(gt=0, le=65504)] = Field(
        default=1e-7,
        description="Weights and constants nearer to 0 than this, but not 0, become this (or its "
        "negative): fp16 would make them 0.",
    )
    max_finite_val: Annotated[Number, Field(gt=0, le=65504)] = Field(
        default=65504.0,
        description="Weights and constants farther from 0 than this become this (or its negative): fp16 "
        "would make them infinite.",
    )
    tolerance: Annotated[TolerancePart, _or(FP16_TOLERANCE)] = Field(
        default=FP16_TOLERANCE,
        description="How far the file may be from PyTorch in fp32; by default {relative_l2: 1e-2, cosine: "
        "0.999, mismatch: 1e-2}.",
    )


class Bf16(Reduced):
    """bfloat16: float32's range with 8 bits of precision, so there is nothing to clamp."""

    tolerance: Annotated[TolerancePart, _or(BF16_TOLERANCE)] = Field(
        default=BF16_TOLERANCE,
        description="How far the file may be from PyTorch in fp32; by default {relative_l2: 5e-2, cosine: "
        "0.99, mismatch: 5e-2}.",
    )


class Calibration(Part):
    """What the ranges of activations are taken from."""

    data: Patterns = Field(
        default=(),
        description="Real inputs: .npz files with arrays named as the inputs, or .npy where there is one "
        "input. Globs, relative to the recipe. None of them may be among `verify.data`. Without any, random "
        "inputs are taken, and the artifact says so: they say nothing of the ranges of real ones.",
        examples=["calibration/*.npz"],
    )
    samples: Annotated[Whole, Field(ge=1)] = Field(
        default=512, description="How many of these inputs are taken, at most, in the order of their names."
    )
    method: RangeMethod = Field(
        default="minmax",
        description="How a range is chosen from what was seen: minmax takes the largest magnitude, "
        "percentile leaves out the largest 0.01 %, entropy and mse take the one that loses least, by the "
        "Kullback-Leibler divergence or by the squared error.",
    )


class Int8(Part):
    """int8 with QuantizeLinear and DequantizeLinear: symmetric, with zero point 0."""

    method: Literal["auto", "static"] = Field(
        default="auto",
        description="Which nodes are int8: static takes all of `op_types`; auto does, too, and where that "
        "breaks the tolerance searches for the fewest nodes that must stay out to hold it.",
    )
    base: BaseName = Field(
        default="fp16",
        description="What all that stays out of int8 computes in. fp16 follows the knobs under "
        "`precision.fp16`, if there are any, and needs opset 19, to which the file is raised.",
    )
    calibration: Calibration = Field(
        default=Calibration(), description="The inputs that the ranges come from, and how a range is chosen."
    )
    op_types: Annotated[
        tuple[Literal["Conv", "ConvTranspose", "MatMul", "Gemm"], ...], Field(min_length=1)
    ] = Field(
        default=("Conv", "ConvTranspose", "MatMul", "Gemm"),
        description="The operators that become int8.",
        examples=[["Conv"]],
    )
    per_channel: Flag = Field(
        default=True, description="Whether each output channel of a weight has a scale of its own."
    )
    reduce_range: Flag = Field(
        default=False,
        description="Whether weights take 7 bits, for processors without VNNI, on which ONNX Runtime's "
        "sums of 8 bits saturate. GPUs need it not.",
    )
    keep_io_types: Flag = Field(
        default=True, description="Whether inputs and outputs stay float32; else they are in the base."
    )
    op_block_list: tuple[Text, ...] = Field(
        default=(), description="Operator types of which every node stays out of int8.", examples=[["Gemm"]]
    )
    node_block_list: tuple[Text, ...] = Field(
        default=(),
        description="Names of single nodes that stay out of int8, as `modelbuild inspect --nodes` has them.",
        examples=[["node_linear_5"]],
    )
    tolerance: Annotated[TolerancePart, _or(INT8_TOLERANCE)] = Field(
        default=INT8_TOLERANCE,
        description="How far the file may be from PyTorch in fp32; by default {relative_l2: 1e-1, cosine: "
        "0.99, mismatch: 5e-2}.",
    )


class Precisions(Part):
    """The precisions to build. A name with nothing after it is built with the defaults."""

    fp32: Fp32 | None = Field(
        default=None,
        description="The model in float32, as PyTorch has it. Build it with nothing after it: `fp32:`.",
    )
    fp16: Fp16 | None = Field(
        default=None, description="The model in float16; `fp16:` with nothing after it takes the defaults."
    )
    bf16: Bf16 | None = Field(
        default=None, description="The model in bfloat16; `bf16:` with nothing after it takes the defaults."
    )

    int8: Int8 | None = Field(
        default=None, description="The model in int8; `int8:` with nothing after it takes the defaults."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: {} if knobs is None else knobs for name, knobs in data.items()}

    @property
    def names(self) -> tuple[PrecisionName, ...]:
        """Those to build: fp32 first, as the others are made from it."""
        every: tuple[PrecisionName, ...] = ("fp32", "fp16", "bf16", "int8")
        return tuple(name for name in every if getattr(self, name) is not None)

    @property
    def reduced(self) -> dict[ReducedName, Fp16 | Bf16 | Int8]:
        """Those of fewer bits than fp32, with their knobs."""
        every: dict[ReducedName, Fp16 | Bf16 | Int8 | None] = {
            "fp16": self.fp16, "bf16": self.bf16, "int8": self.int8,
        }  # fmt: skip
        return {name: knobs for name, knobs in every.items() if knobs is not None}
