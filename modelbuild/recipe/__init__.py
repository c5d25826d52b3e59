"""Recipes: what to build, read from YAML.

``load`` reads a file, ``parse`` a text (from a git revision, say), ``find`` the files that command
line arguments name. Whatever is wrong comes as one ``RecipeError`` that holds every mistake with
its place. Nothing here imports torch, onnx or numpy, and nothing runs code that a recipe names.
"""

from modelbuild.recipe.finding import find
from modelbuild.recipe.json_schema import json_schema, schema_text
from modelbuild.recipe.loading import load, parse
from modelbuild.recipe.schema import (
    AxisRange,
    Bf16,
    Builder,
    Engine,
    Fp16,
    Fp32,
    InputSpec,
    InputValues,
    ModelSource,
    Precisions,
    Recipe,
    Tolerance,
    Verify,
)

__all__ = [
    "AxisRange",
    "Bf16",
    "Builder",
    "Engine",
    "Fp16",
    "Fp32",
    "InputSpec",
    "InputValues",
    "ModelSource",
    "Precisions",
    "Recipe",
    "Tolerance",
    "Verify",
    "find",
    "json_schema",
    "load",
    "parse",
    "schema_text",
]
