"""Where in its recipe an error or a warning of a build has its cause: the part that asked for what it is of.

Places are no facts: they are looked up at the end, in the recipe's text as it is then, so that a comment
that moves every line rebuilds nothing. What names a line of the model's own source keeps that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from modelbuild.base.catalogue import Code
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.building.scheduling.runs import Ended, Run
from modelbuild.recipe import loading
from modelbuild.recipe.files import CALIBRATION
from modelbuild.recipe.problems import Route, dotted
from modelbuild.recipe.reading import Document, read
from modelbuild.recipe.schema import Recipe

_OF_CODE: Mapping[Code, Route] = {
    "branch-on-values": ("model", "import"),
    "data-not-finite": ("verify", "data"),
    "export-failed": ("model", "import"),
    "import-failed": ("model", "import"),
    "inputs-mismatch": ("inputs",),
    "nondeterministic-reference": ("model", "import"),
    "opset-mismatch": ("opset",),
    "outputs-mismatch": ("outputs",),
    "reference-failed": ("model", "import"),
    "simplify-failed": ("simplify",),
    "stateful-reference": ("model", "import"),
}
"""What a code is about, whatever part of the recipe asked for the action that met it."""

_OF_NO_PART: frozenset[Code] = frozenset(
    {"cache-corrupt", "cache-unwritable", "changed-while-read", "not-kept", "worker-crashed"}
)
"""Warnings of what happened on the way, of which no part of a recipe is the cause."""

_OF_AN_INPUT: frozenset[Code] = frozenset({"inputs-mismatch", "unused-input", "vacuous-check"})
"""What may name the input that it is about."""

_MODEL: tuple[Route, ...] = (("model", "import"), ("model", "onnx"), ("model",))


class ErrorPlaces:
    """Of one run's errors and warnings."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def of(self, found: Diagnostic, about: Route, data: Mapping[str, Any]) -> Diagnostic:
        """What was found with the place of the part of the recipe that it is about, if it has no place yet.

        ``about`` is the part that asked for what failed, or was not as it seems; ``data`` are those of a
        failure. What is only worth knowing, and what no recipe can change, has no place.
        """
        passing = found.level == "warning" and found.code in _OF_NO_PART
        if found.level == "info" or passing or found.where is not None:
            return found
        document = self._document
        if document is None:
            return replace(found, where=self.run.path)
        routes = (*_routes(self.run.plan.recipe, found, about, data), about, *_MODEL)
        route = next((written for r in routes if (written := document.written(r))), ())
        mark = document.mark(route, on_key=True)
        return replace(found, where=f"{self.run.path}:{mark.line + 1}:{mark.column + 1}")

    def said(self, ended: Ended, about: Route) -> Iterator[Diagnostic]:
        """What there is to say of how an action ended."""
        return (self.of(found, about, ended.data) for found in ended.said())

    @cached_property
    def _document(self) -> Document | None:
        """The recipe as it is written now; None if it says something else than what was built."""
        path = Path(self.run.identity)
        try:
            text = loading.source(path)
            same = loading.load(path) == self.run.plan.recipe
        except RecipeError:
            return None
        return read(text) if same else None


def _routes(recipe: Recipe, found: Diagnostic, about: Route, data: Mapping[str, Any]) -> Iterator[Route]:
    """The parts of a recipe that it may be about, the likeliest first."""
    if "about" in data:
        yield tuple(data["about"])
    if recipe.verify.function and f"`{recipe.verify.function}`" in found.message:
        yield ("verify", "function")
    if found.code == "baked-axis":
        named = [*data.get("axes", ()), *re.findall(r"\w+", found.message)]
        yield from (("dynamic_axes", axis) for axis in named if axis in recipe.dynamic_axes)
    quoted = re.findall(r"`([^`]+)`", found.message)
    if found.code in _OF_AN_INPUT:
        yield from (("inputs", name) for name in quoted if name in recipe.inputs)
    if found.code == "recipe-invalid":
        yield from ((*about, name) for name in quoted[:1])  # `node_block_list` names what is not there
    if found.code == "data-not-finite" and dotted(CALIBRATION) in quoted:
        yield CALIBRATION
    if found.code in _OF_CODE:
        yield _OF_CODE[found.code]
