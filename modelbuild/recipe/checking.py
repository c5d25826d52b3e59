"""What the values of a recipe say about each other: every check, in one table.

A check is a function of a recipe that yields problems. It reads values and nothing else: no file,
no clock, no module. ``file_checks`` is the exception, and runs where there is a folder to look in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from modelbuild.recipe import engine_checks, file_checks, input_checks, model_checks
from modelbuild.recipe.problems import Problem
from modelbuild.recipe.schema import Recipe

CHECKS: tuple[Callable[[Recipe], Iterator[Problem]], ...] = (
    model_checks.source,
    model_checks.only_for_import,
    model_checks.nested_objects,
    model_checks.opset,
    model_checks.precisions,
    input_checks.names,
    input_checks.initializers,
    input_checks.values,
    input_checks.axes,
    input_checks.static,
    engine_checks.engines,
    engine_checks.artifact_names,
)


def check(recipe: Recipe, folder: Path | None = None) -> Iterator[Problem]:
    """Every problem that the recipe shows; with ``folder``, also the files that are missing."""
    yield from itertools.chain.from_iterable(one(recipe) for one in CHECKS)
    if folder is not None:
        yield from file_checks.missing_files(recipe, folder)
