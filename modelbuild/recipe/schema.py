"""What a recipe is. These types are the format: the JSON schema is generated from them.

Only what one value says about itself is checked here; what two values say about each other is in
``checking``. Mappings whose keys are the user's (axes, inputs) keep the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from modelbuild.base.tensors import Axis, TensorSpec, Values
from modelbuild.base.tolerance import DEFAULTS
from modelbuild.recipe.words import (
    AxisName,
    Bytes,
    Dimension,
    Flag,
    Import,
    Number,
    Pattern,
    Patterns,
    RecipeName,
    Seed,
    Size,
    Targets,
    TensorName,
    Text,
    Variants,
    Whole,
    file_alone,
)

DType = Literal["float32", "float16", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
PrecisionName = Literal["fp32", "fp16", "bf16"]
ReducedName = Literal["fp16", "bf16"]
Method = Literal["convert", "half", "autocast", "mixed", "auto"]

DEFAULT_OPSET = 18


class Part(BaseModel):
    """A mapping whose keys are known, each of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Weights(Part):
    """A state dict in a file that holds other things too, or with a prefix before its names."""

    file: Text = Field(description="The file (.safetensors, .pt); relative to the recipe.")
    key: Text | None = Field(
        default=None, description="What the state dict is under, as in a checkpoint; dots for what is nested."
    )
    strip_prefix: Text | None = Field(
        default=None,
        description="What a wrapper has put before the names, as `module.`; names of others are left out.",
    )


FILE_ALONE = BeforeValidator(file_alone, json_schema_input_type=Weights | Text | None)


class ModelSource(Part):
    """Where the model comes from: Python code that makes it, or an ONNX file."""

    import_: Import | None = Field(
        default=None,
        alias="import",
        description="`package.module:attribute`: called to get an nn.Module, TorchScript or an "
        "ExportedProgram; a model is taken as it is. Modules beside the recipe are importable.",
    )
    args: tuple[Any, ...] = Field(
        default=(),
        description="Positional arguments of the call. {import, args, kwargs} makes an object.",
    )
    kwargs: dict[Text, Any] = Field(
        default={},
        description="Keyword arguments of the call. {import, args, kwargs} makes an object.",
    )
    weights: Annotated[Weights | None, FILE_ALONE] = Field(
        default=None,
        description="A state dict (.safetensors, .pt), relative to the recipe; or {file, key, strip_prefix}.",
    )
    files: tuple[Pattern, ...] = Field(
        default=(),
        description="Other files that the model depends on; globs, relative to the recipe.",
    )
    seed: Seed = Field(default=0, description="torch's seed before the model is made.")
    onnx: Text | None = Field(
        default=None,
        description="Instead of `import`: an existing ONNX file, relative to the recipe.",
    )


class InputValues(Part):
    """How an input is filled: one of {low, high}, {mean, std} and {constant}."""

    low: Number | None = Field(default=None, description="Uniform values: the lowest.")
    high: Number | None = Field(default=None, description="Uniform values: the end, which is not reached.")
    mean: Number | None = Field(default=None, description="Normal values: the mean.")
    std: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, description="Normal values: the standard deviation."
    )
    constant: Number | None = Field(default=None, description="One value everywhere.")


class InputSpec(Part):
    """One ONNX input."""

    shape: tuple[Dimension, ...] = Field(
        description="A number is a fixed axis, a name one of `dynamic_axes`; [] is a scalar."
    )
    dtype: DType = Field(default="float32", description="The element type.")
    values: InputValues | None = Field(
        default=None, description="How it is filled; normal(0, 1) for floats by default."
    )


class AxisRange(Part):
    """The sizes of an axis: 1 <= min <= opt <= max."""

    min: Size = Field(description="The smallest size.")
    opt: Size = Field(description="The size that engines are tuned for.")
    max: Size = Field(description="The largest size.")


class Bounds(Part):
    """How far an output may be from PyTorch's. Those named must all hold."""

    rtol: Annotated[Number, Field(ge=0)] | None = Field(
        default=None, description="|error| <= atol + rtol * |reference|, for every element."
    )
    atol: Annotated[Number, Field(ge=0)] | None = Field(
        default=None, description="See `rtol`; of the two, the one that is not named is 0."
    )
    relative_l2: Annotated[Number, Field(ge=0)] | None = Field(
        default=None, description="norm(error) / norm(reference), at most."
    )
    cosine: Annotated[Number, Field(gt=0, le=1)] | None = Field(
        default=None, description="Cosine of the angle between the two, at least."
    )
    sqnr: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, description="The ratio of signal to noise in dB, at least: 40 is a relative_l2 of 1e-2."
    )
    mismatch: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Of integers and bools that floats decide, the share that may differ.",
    )
    conditioning: Annotated[Number, Field(gt=0)] | None = Field(
        default=None,
        description="Of fp32, where the others do not hold: how many times PyTorch's own error is allowed.",
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


class Tolerance(Bounds):
    """How far an artifact may be from PyTorch. Those named must all hold."""

    outputs: dict[Text, Bounds] | None = Field(
        default=None, description="Outputs with bounds of their own, which hold instead of the rest."
    )


FP32_TOLERANCE, FP16_TOLERANCE, BF16_TOLERANCE = (
    Tolerance.model_validate(DEFAULTS[name].named()) for name in ("fp32", "fp16", "bf16")
)


def _or(default: Tolerance) -> AfterValidator:
    """Where no bound is named, the default; but one that is written as `{}` bounds nothing."""

    def filled(asked: Tolerance) -> Tolerance:
        if asked.named() or not asked.model_fields_set:
            return asked
        return Tolerance(**default.named(), outputs=asked.outputs)

    return AfterValidator(filled)


class Fp32(Part):
    """The model as it is."""

    tolerance: Annotated[Tolerance, _or(FP32_TOLERANCE)] = Field(
        default=FP32_TOLERANCE,
        description="By default {rtol: 1e-3, atol: 1e-4, relative_l2: 1e-3, mismatch: 1e-3}.",
    )


class Reduced(Part):
    """What fp16 and bf16 have in common."""

    method: Method = Field(
        default="auto",
        description="auto: convert, and where that overflows or breaks the tolerance, mixed; convert: "
        "rewrite the ONNX graph; mixed: rewrite it and search for the nodes that must stay in fp32; "
        "half: export model.half(); autocast: export under torch.autocast.",
    )
    keep_io_types: Flag = Field(default=True, description="Inputs and outputs stay float32.")
    disable_shape_infer: Flag = Field(
        default=False, description="Convert without shape inference, as models over 2 GB need it."
    )
    op_block_list: tuple[Text, ...] | None = Field(
        default=None, description="Op types kept in fp32; onnxconverter-common's list by default."
    )
    node_block_list: tuple[Text, ...] = Field(default=(), description="Names of nodes kept in fp32.")


class Fp16(Reduced):
    """float16. Six of the knobs have onnxconverter-common's names and meanings."""

    min_positive_val: Annotated[Number, Field(gt=0, le=65504)] = Field(
        default=1e-7, description="Constants nearer to 0 are moved to this."
    )
    max_finite_val: Annotated[Number, Field(gt=0, le=65504)] = Field(
        default=65504.0, description="Constants farther from 0 are moved to this."
    )
    tolerance: Annotated[Tolerance, _or(FP16_TOLERANCE)] = Field(
        default=FP16_TOLERANCE, description="By default {relative_l2: 1e-2, cosine: 0.999, mismatch: 1e-2}."
    )


class Bf16(Reduced):
    """bfloat16: float32's range with 8 bits of precision, so there is nothing to clamp."""

    tolerance: Annotated[Tolerance, _or(BF16_TOLERANCE)] = Field(
        default=BF16_TOLERANCE, description="By default {relative_l2: 5e-2, cosine: 0.99, mismatch: 5e-2}."
    )


class Precisions(Part):
    """The precisions to build. A name with nothing after it is built with the defaults."""

    fp32: Fp32 | None = Field(default=None, description="The model as it is.")
    fp16: Fp16 | None = Field(default=None, description="The model in float16.")
    bf16: Bf16 | None = Field(default=None, description="The model in bfloat16.")

    @model_validator(mode="before")
    @classmethod
    def _bare_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: {} if knobs is None else knobs for name, knobs in data.items()}

    @property
    def names(self) -> tuple[PrecisionName, ...]:
        """Those to build: fp32 first, as the others are made from it."""
        every: tuple[PrecisionName, ...] = ("fp32", "fp16", "bf16")
        return tuple(name for name in every if getattr(self, name) is not None)

    @property
    def reduced(self) -> dict[ReducedName, Fp16 | Bf16]:
        """Those of fewer bits than fp32, with their knobs."""
        every: dict[ReducedName, Fp16 | Bf16 | None] = {"fp16": self.fp16, "bf16": self.bf16}
        return {name: knobs for name, knobs in every.items() if knobs is not None}


class Builder(Part):
    """The engine builder's knobs; what is not named is left to the builder."""

    optimization_level: Annotated[Whole, Field(ge=0, le=5)] | None = Field(
        default=None, description="0 builds fastest, 5 runs fastest."
    )
    workspace: Bytes | None = Field(default=None, description="Memory for the builder: `4GiB` or bytes.")
    tf32: Flag = Field(default=True, description="Allow TF32 in float32 matrix products.")


class Engine(Part):
    """One TensorRT engine."""

    precision: PrecisionName = Field(description="One of the precisions of the recipe.")
    backend: Literal["tensorrt", "tensorrt-rtx"] = Field(default="tensorrt-rtx", description="The builder.")
    variant: dict[AxisName, Size] = Field(default={}, description="One of `static`; {} is the dynamic model.")
    profiles: Annotated[tuple[dict[AxisName, AxisRange], ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Optimization profiles by axis; axes left out are as in `dynamic_axes`.",
    )
    targets: Targets = Field(
        default=(),
        description="tensorrt-rtx: compute capabilities to build for; the order is nothing.",
    )
    builder: Builder = Field(default=Builder(), description="The builder's knobs.")


class Verify(Part):
    """How every artifact is compared with PyTorch."""

    samples: Annotated[Whole, Field(ge=1)] = Field(
        default=20, description="Random inputs per sampled shape, at most."
    )
    seed: Seed = Field(default=0, description="The seed of the random inputs.")
    data: Patterns = Field(
        default=(),
        description="Real inputs: .npz files with arrays named as the inputs, .npy for the only one; globs.",
    )
    function: Import | None = Field(
        default=None,
        description="`module:function`: f(reference, candidate) -> bool on lists of arrays, "
        "beside the tolerances.",
    )


class Recipe(Part):
    """How one model becomes ONNX files and TensorRT engines, and how each is proven."""

    name: RecipeName = Field(description="Begins every file's name; the recipe's by default.")
    model: ModelSource = Field(description="Where the model comes from.")
    inputs: Annotated[dict[TensorName, InputSpec], Field(min_length=1)] = Field(
        description="The ONNX inputs, in this order."
    )
    outputs: Annotated[tuple[TensorName, ...], Field(min_length=1)] | None = Field(
        default=None, description="Names of the outputs, flattened; the exporter's by default."
    )
    dynamic_axes: dict[AxisName, AxisRange] = Field(
        default={}, description="Every name that a shape uses, with its sizes."
    )
    opset: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="18 by default; an ONNX file keeps its own."
    )
    exporter: Literal["auto", "dynamo", "torchscript"] = Field(
        default="auto",
        description="Which of torch.onnx's exporters. auto: dynamo; torchscript where `opset` is below 18, "
        "and for TorchScript.",
    )
    constant_folding: Flag = Field(default=True, description="Compute what depends on constants only.")
    keep_initializers_as_inputs: Flag = Field(
        default=False, description="List the weights among the graph's inputs."
    )
    initializer_names: Annotated[tuple[TensorName, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Their names, in the order of the model's state dict; nothing is folded into these.",
    )
    simplify: Flag = Field(default=True, description="Run onnxsim on the exported model.")
    precision: Precisions = Field(
        default=Precisions(fp32=Fp32()),
        description="The precisions to build; fp32 alone by default.",
    )
    static: Variants = Field(
        default=(), description="Variants with these axes pinned; the rest stay dynamic."
    )
    static_by: Literal["auto", "pin", "export"] = Field(
        default="auto",
        description="pin: from the dynamic file; export: each from PyTorch at its own sizes. auto: pin, "
        "and export where the dynamic export is refused.",
    )
    engines: tuple[Engine, ...] = Field(default=(), description="Engines to build with TensorRT.")
    verify: Verify = Field(default=Verify(), description="How artifacts are compared with PyTorch.")

    @property
    def effective_opset(self) -> int:
        """The opset to ask an exporter for."""
        return self.opset or DEFAULT_OPSET

    def axes(self) -> tuple[Axis, ...]:
        """The dynamic axes, in the order of ``dynamic_axes``."""
        return tuple(Axis(name, r.min, r.opt, r.max) for name, r in self.dynamic_axes.items())

    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs, in order. ``Values()`` where the recipe leaves the values open."""
        return tuple(
            TensorSpec(name, spec.dtype, spec.shape, _values(spec.values))
            for name, spec in self.inputs.items()
        )

    def variant_suffix(self, static: Mapping[str, int]) -> str:
        """``batch8-sequence128``, in the order of ``dynamic_axes``; empty for the dynamic model."""
        return "-".join(f"{name}{static[name]}" for name in self.dynamic_axes if name in static)


def _values(values: InputValues | None) -> Values:
    return Values(**values.model_dump()) if values else Values()
