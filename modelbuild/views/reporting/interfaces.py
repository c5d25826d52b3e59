"""What a model takes and gives, as its published files say it; or its recipe, where there are none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from modelbuild import inspection
from modelbuild.base import shapes
from modelbuild.base.errors import RecipeError
from modelbuild.base.tensors import Axis
from modelbuild.recipe.schema import Recipe
from modelbuild.views.reporting.values import ShownArtifact, ShownInterface, ShownPort


def published(
    folder: Path, artifacts: Iterable[ShownArtifact], axes: Sequence[Axis] = ()
) -> ShownInterface | None:
    """Of the first of the model's files with free axes, and the opset of each; None if none can be read.

    Files lie where others may write: one that is no model says nothing.
    """
    found: dict[str, tuple[str, Any]] = {}
    for artifact in artifacts:
        if artifact.precision in found or not _may_say(artifact):
            continue
        with contextlib.suppress(RecipeError):
            found[artifact.precision] = artifact.name, inspection.interface(folder / artifact.name)
    if not found:
        return None
    name, info = next(iter(found.values()))
    opsets = {p: i["opset"]["ai.onnx"] for p, (_, i) in found.items() if "ai.onnx" in i["opset"]}
    return ShownInterface(_ports(info["inputs"]), _ports(info["outputs"]), axes, opsets, name)


def _may_say(artifact: ShownArtifact) -> bool:
    whole = artifact.kind == "onnx" and not artifact.axes and artifact.bytes is not None
    return whole and shapes.name(artifact.name)  # as a manifest has it: it must not lead elsewhere


def _ports(rows: Iterable[dict[str, Any]]) -> list[ShownPort]:
    return [ShownPort(row["name"], row["dtype"], row["shape"]) for row in rows]


def asked(recipe: Recipe) -> ShownInterface:
    """As the recipe has it: an output's type and shape are not known before there is a file."""
    inputs = [ShownPort(spec.name, spec.dtype, spec.shape) for spec in recipe.specs()]
    outputs = [ShownPort(name, "", None) for name in recipe.outputs or ()]
    opset = recipe.opset if recipe.model.onnx else recipe.effective_opset
    return ShownInterface(inputs, outputs, recipe.axes(), {"asked": opset} if opset else {})
