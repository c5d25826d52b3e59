"""What a recipe is. These types are the format: the JSON schema is generated from them.

Only what one value says about itself is checked here; what two values say about each other is in
``checking``. Mappings whose keys are the user's (axes, inputs) keep the order of the file. The whole is
here, and its parts are in the modules beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from modelbuild.base.tensors import Axis, TensorSpec, Values
from modelbuild.recipe.schema.engines import Engine
from modelbuild.recipe.schema.inputs import AxisRange, InputSpec, InputValues
from modelbuild.recipe.schema.part import Part
from modelbuild.recipe.schema.precisions import Fp32, Precisions
from modelbuild.recipe.schema.proofs import VerifyPart
from modelbuild.recipe.schema.sources import ModelPart
from modelbuild.recipe.words import AxisName, Flag, RecipeName, TensorName, Variants, Whole

DEFAULT_OPSET = 18


class Recipe(Part):
    """How one model becomes ONNX files and TensorRT engines, and how each is proven."""

    name: RecipeName = Field(
        description="What every file that is built is called, and the folder that they are in; by default "
        "the recipe's file name without `.yaml`.",
        examples=["resnet50"],
    )
    model: ModelPart = Field(description="The Python code that makes the model, or an ONNX file.")
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
    verify: VerifyPart = Field(
        default=VerifyPart(), description="How every file is compared with PyTorch before it is published."
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
