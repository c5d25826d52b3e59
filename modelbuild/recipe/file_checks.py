"""Checks of the files that a recipe names: that they are there. Nothing is opened.

Globs are not expanded here: ``/**/x`` in a stranger's recipe would walk the whole disk.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

from modelbuild.recipe.problems import Problem, Route, clean, did_you_mean, dotted
from modelbuild.recipe.schema import Recipe


def missing_files(recipe: Recipe, folder: Path) -> Iterator[Problem]:
    """The files named in ``recipe`` that are not there, seen from ``folder``."""
    model = recipe.model
    named: list[tuple[Route, str | None]] = [
        (("model", "weights"), model.weights),
        (("model", "onnx"), model.onnx),
        *((("model", "files", i), name) for i, name in enumerate(model.files)),
        *((("verify", "data", i), name) for i, name in enumerate(recipe.verify.data)),
    ]
    for route, name in named:
        pattern = route[1] in ("files", "data") and name is not None and glob.has_magic(name)
        if name is None or pattern or _is_file(folder / name):
            continue
        message = f"`{dotted(route[:2])}`: there is no file `{clean(str(folder / name), 200)}`"
        yield Problem(route, message, _hint(folder / name))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def _hint(path: Path) -> str:
    try:
        names = sorted(p.name for p in path.parent.iterdir())
    except OSError:
        names = []
    return did_you_mean(path.name, names, "paths are relative to the recipe")
