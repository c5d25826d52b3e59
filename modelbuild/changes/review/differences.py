"""Two recipes, value by value, in the words of the recipe: ``dynamic_axes.batch.max: 8 -> 16``.

What is compared is what a recipe means, with every default in it, and not its text.
"""

from __future__ import annotations

import json
from typing import Any

from modelbuild.recipe.differing import Change, differing
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.engines import Engine


def differences(old: Recipe, new: Recipe) -> tuple[Change, ...]:
    """Everything in which the two are not the same recipe."""
    return tuple(differing(_data(old), _data(new), _data(old, brief=True), _data(new, brief=True)))


def engine_name(engine: Engine, recipe: Recipe) -> str:
    """As in its file's name: ``fp16.batch1.tensorrt-rtx``."""
    suffix = recipe.variant_suffix(engine.variant)
    return ".".join(part for part in (engine.precision, suffix, engine.backend) if part)


def _data(recipe: Recipe, brief: bool = False) -> dict[str, Any]:
    """As plain data; ``brief``: without what is as it is by default."""
    # Not pydantic's JSON, in which nan is null.
    data: dict[str, Any] = json.loads(json.dumps(recipe.model_dump(by_alias=True, exclude_defaults=brief)))
    for spec in data["inputs"].values():
        if spec.get("values"):
            spec["values"] = {k: v for k, v in spec["values"].items() if v is not None}
    if recipe.model.onnx is None:
        data["opset"] = recipe.effective_opset
    for row in data.get("engines", ()):
        if row.get("builder", {}).get("workspace"):
            row["builder"]["workspace"] = _size(row["builder"]["workspace"])
    if recipe.engines:
        rows = zip(recipe.engines, data["engines"], strict=True)
        data["engines"] = {engine_name(engine, recipe): row for engine, row in rows}
    elif not brief:
        data["engines"] = {}
    return data


def _size(count: int) -> str | int:
    """Bytes as a recipe has them: ``4GiB``."""
    units = ((30, "GiB"), (20, "MiB"), (10, "KiB"))
    return next((f"{count >> bits}{unit}" for bits, unit in units if count % (1 << bits) == 0), count)
