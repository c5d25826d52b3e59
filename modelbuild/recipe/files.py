"""The files that a recipe names: the one list, for whoever asks whether they are there or have changed."""

from __future__ import annotations

from collections.abc import Iterator

from modelbuild.base import archives
from modelbuild.recipe.problems import Route, dotted
from modelbuild.recipe.schema import Recipe

CALIBRATION: Route = ("precision", "int8", "calibration", "data")


def named(recipe: Recipe) -> Iterator[tuple[Route, str]]:
    """Every file and pattern, each after its place in the recipe."""
    model = recipe.model
    if model.weights is not None:
        yield ("model", "weights", "file"), model.weights.file
    if model.onnx is not None:
        yield ("model", "onnx"), model.onnx
    spec = {"import": model.import_ or "", "args": model.args, "kwargs": model.kwargs}
    yield from ((("model", *route), file) for route, file in archives.files(spec))
    yield from ((("model", "files", number), pattern) for number, pattern in enumerate(model.files))
    yield from ((("verify", "data", number), pattern) for number, pattern in enumerate(recipe.verify.data))
    if recipe.precision.int8 is not None:
        patterns = enumerate(recipe.precision.int8.calibration.data)
        yield from (((*CALIBRATION, number), pattern) for number, pattern in patterns)


def takes_patterns(route: Route) -> bool:
    """Whether what stands at this place is a pattern."""
    return route[1] in ("files", "data") or route[:-1] == CALIBRATION


def key(route: Route) -> str:
    """The key of the recipe that has this file or pattern, as it is told: ``verify.data``."""
    return dotted(CALIBRATION if route[:-1] == CALIBRATION else route[:2])
