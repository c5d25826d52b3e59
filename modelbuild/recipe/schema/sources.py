"""`model`: where the model comes from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from modelbuild.recipe.schema.part import Part
from modelbuild.recipe.words import Import, Pattern, Seed, Text, file_alone


class WeightsPart(Part):
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


FILE_ALONE = BeforeValidator(file_alone, json_schema_input_type=WeightsPart | Text | None)


class ModelPart(Part):
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
    weights: Annotated[WeightsPart | None, FILE_ALONE] = Field(
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
