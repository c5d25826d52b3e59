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

    file: Text = Field(
        description="The file (.safetensors, .pt, .ckpt); relative to the recipe.",
        examples=["runs/best.ckpt"],
    )
    key: Text | None = Field(
        default=None,
        description="The key of a checkpoint under which the state dict is, with dots for what is nested.",
        examples=["state_dict", "ema.model"],
    )
    strip_prefix: Text | None = Field(
        default=None,
        description="What a wrapper has put before each parameter's name: it is taken off. Names without "
        "it, as of an optimizer or a loss, are left out where the model does not have them.",
        examples=["module.", "model."],
    )


FILE_ALONE = BeforeValidator(file_alone, json_schema_input_type=Weights | Text | None)


class ModelSource(Part):
    """Where the model comes from: Python code that makes it, or an ONNX file."""

    import_: Import | None = Field(
        default=None,
        alias="import",
        description="`package.module:attribute`, a class or a function: called to get an nn.Module, "
        "TorchScript or an ExportedProgram. An attribute that is a model already is taken as "
        "it is. Modules beside the recipe are importable.",
        examples=["net:Net", "torchvision.models:resnet50", "transformers:BertModel"],
    )
    args: tuple[Any, ...] = Field(
        default=(),
        description="Positional arguments of that call. An argument that is a mapping {import, args, "
        "kwargs} is itself made by such a call.",
        examples=[[64, 3]],
    )
    kwargs: dict[Text, Any] = Field(
        default={},
        description="Keyword arguments of that call. An argument that is a mapping {import, args, kwargs} "
        "is itself made by such a call, as a config object is.",
        examples=[
            {"width": 64},
            {"config": {"import": "transformers:BertConfig", "kwargs": {"num_hidden_layers": 12}}},
        ],
    )
    weights: Annotated[Weights | None, FILE_ALONE] = Field(
        default=None,
        description="Trained weights, relative to the recipe: a file with a state dict (.safetensors, "
        ".pt), or {file, key, strip_prefix} for a training checkpoint. Without it the weights "
        "are those that the code makes, which are random in most models.",
        examples=[
            "weights/net.safetensors",
            {"file": "runs/best.ckpt", "key": "state_dict", "strip_prefix": "model."},
        ],
    )
    files: tuple[Pattern, ...] = Field(
        default=(),
        description="Files that the model reads where modelbuild cannot see it (in native code, in a "
        "program that it starts): when one of them changes, the model is built again. Globs, "
        "relative to the recipe.",
        examples=[["vocab.txt", "tables/*.bin"]],
    )
    seed: Seed = Field(
        default=0,
        description="The seed for torch.manual_seed() before the model is made, so that random weights "
        "are the same each time.",
    )
    onnx: Text | None = Field(
        default=None,
        description="Instead of `import`: an existing ONNX file, relative to the recipe.",
        examples=["models/detector.onnx"],
    )


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


class Tolerance(Bounds):
    """How far an artifact may be from PyTorch. Those named must all hold."""

    outputs: dict[Text, Bounds] | None = Field(
        default=None,
        description="By the name of an output: bounds for it alone, which hold instead of those above.",
        examples=[{"boxes": {"atol": 0.5}, "classes": {"mismatch": 0.02}}],
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
    tolerance: Annotated[Tolerance, _or(FP16_TOLERANCE)] = Field(
        default=FP16_TOLERANCE,
        description="How far the file may be from PyTorch in fp32; by default {relative_l2: 1e-2, cosine: "
        "0.999, mismatch: 1e-2}.",
    )


class Bf16(Reduced):
    """bfloat16: float32's range with 8 bits of precision, so there is nothing to clamp."""

    tolerance: Annotated[Tolerance, _or(BF16_TOLERANCE)] = Field(
        default=BF16_TOLERANCE,
        description="How far the file may be from PyTorch in fp32; by default {relative_l2: 5e-2, cosine: "
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


class Verify(Part):
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


class Recipe(Part):
    """How one model becomes ONNX files and TensorRT engines, and how each is proven."""

    name: RecipeName = Field(
        description="What every file that is built is called, and the folder that they are in; by default "
        "the recipe's file name without `.yaml`.",
        examples=["resnet50"],
    )
    model: ModelSource = Field(description="The Python code that makes the model, or an ONNX file.")
    inputs: Annotated[dict[TensorName, InputSpec], Field(min_length=1)] = Field(
        description="The inputs of the ONNX file by their names, in this order.",
        examples=[{"image": {"shape": ["batch", 3, 224, 224]}}],
    )
    outputs: Annotated[tuple[TensorName, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Names for the outputs in the order in which forward() returns them, with tuples, "
        "lists and dicts taken apart; by default those that the exporter gives.",
        examples=[["logits"], ["boxes", "scores"]],
    )
    dynamic_axes: dict[AxisName, AxisRange] = Field(
        default={},
        description="The axes whose size may change: each name that stands in a shape, with the sizes "
        "that will be used.",
        examples=[{"batch": {"min": 1, "opt": 8, "max": 32}}],
    )
    opset: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None,
        description="The version of ONNX's operators to write; by default 18, or that of the ONNX file "
        "where one is the source.",
        examples=[17, 18, 21],
    )
    exporter: Literal["auto", "dynamo", "torchscript"] = Field(
        default="auto",
        description="Which of PyTorch's two exporters writes the file: dynamo is "
        "torch.onnx.export(dynamo=True), torchscript dynamo=False, and auto is dynamo, but "
        "torchscript where `opset` is below 18 and for TorchScript models.",
    )
    constant_folding: Flag = Field(
        default=True,
        description="Whether what depends on weights and constants alone is computed once, at the export.",
    )
    keep_initializers_as_inputs: Flag = Field(
        default=False,
        description="Whether the weights are inputs of the graph as well, so that a program may replace "
        "them; old runtimes want it.",
    )
    initializer_names: Annotated[tuple[TensorName, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Names for the weights in the file, in the order of the model's state dict, where a "
        "program looks them up by name. Constant folding leaves these alone.",
        examples=[["w1", "b1"]],
    )
    simplify: Flag = Field(default=True, description="Whether the exported graph is simplified with onnxsim.")
    precision: Precisions = Field(
        default=Precisions(fp32=Fp32()),
        description="The precisions to build, a file for each; fp32 alone by default.",
        examples=[{"fp32": {}, "fp16": {"method": "convert"}}],
    )
    static: Variants = Field(
        default=(),
        description="More files, in each of which these axes have one size; the other axes stay dynamic.",
        examples=[[{"batch": 1}, {"batch": 8, "sequence": 128}]],
    )
    static_by: Literal["auto", "pin", "export"] = Field(
        default="auto",
        description="How these variants are made: pin writes the sizes into the file with dynamic axes, "
        "export exports each at its own sizes, and auto pins, and exports where the model's "
        "code fixes an axis.",
    )
    engines: tuple[Engine, ...] = Field(
        default=(),
        description="Engines to build with TensorRT or TensorRT-RTX, each from one of the ONNX files.",
        examples=[[{"precision": "fp16", "backend": "tensorrt-rtx"}]],
    )
    verify: Verify = Field(
        default=Verify(), description="How every file is compared with PyTorch before it is published."
    )

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
