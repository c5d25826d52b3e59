"""What a recipe itself names: the one list, for whoever asks what a change touches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from modelbuild.lockfile.agreement import named as lock_name
from modelbuild.recipe.schema import Recipe
from modelbuild.trace import kinds

Role = Literal["model", "data", "function"]

_IMPORT = re.compile(r"[\w.]{1,200}:[\w.]{1,200}")  # a module of n parts may be n files


@dataclass(frozen=True)
class Named:
    """A name or a pattern in a recipe, relative to it; ``route`` is where it stands."""

    role: Role
    route: str
    text: str
    pattern: bool = False

    @property
    def is_code(self) -> bool:
        return self.route in ("model.import", "verify.function")

    @property
    def fact(self) -> str:
        return (kinds.GLOB if self.pattern else kinds.FILE).fact(self.text)


def named(recipe: Recipe) -> Iterator[Named]:
    """What the recipe itself names: weights, files, data, and the modules of its code."""
    model = recipe.model
    if model.weights:
        yield Named("model", "model.weights", model.weights.file)
    if model.onnx:
        yield Named("model", "model.onnx", model.onnx)
        yield Named("model", "model.onnx", model.onnx + ".data")
    yield from (Named("model", "model.files", text, True) for text in model.files)
    yield from (Named("data", "verify.data", text, True) for text in recipe.verify.data)
    for place in _imports([model.import_, *model.args, *model.kwargs.values()]):
        yield from (Named("model", "model.import", path) for path in modules(place))
    if recipe.verify.function:
        yield from (Named("function", "verify.function", path) for path in modules(recipe.verify.function))


def _imports(values: Iterable[Any]) -> Iterator[str]:
    """The import paths in a model's arguments, however deep."""
    for value in values:
        if isinstance(value, str) and _IMPORT.fullmatch(value):
            yield value
        elif isinstance(value, dict):
            yield from _imports(value.values())
        elif isinstance(value, list | tuple):
            yield from _imports(value)


def modules(place: str) -> Iterator[str]:
    """The files that an import of ``package.module:attribute`` may read first."""
    parts = place.partition(":")[0].split(".")
    for end in range(1, len(parts) + 1):
        path = "/".join(parts[:end])
        yield f"{path}/__init__.py"
        yield f"{path}.py"


@dataclass(frozen=True)
class Locked:
    """A name in a lock file: a file, or every file that lies right in a folder; ``far``: wherever it lies."""

    path: str
    folder: bool = False
    far: bool = False


def locked(names: Iterable[str]) -> Iterator[Locked]:
    """What a lock file names."""
    for name in map(lock_name, names):
        if name.startswith(".../"):  # outside the project, or at another place on each machine
            yield Locked(name[4:], far=True)
        elif name == "*" or name.endswith("/*"):
            yield Locked(name[:-2] or ".", folder=True)
        else:
            yield Locked(name)
