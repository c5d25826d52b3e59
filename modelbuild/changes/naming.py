"""What a recipe and its lock file name, as evidence of what the recipe depends on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from modelbuild.changes.edits import Edits
from modelbuild.lockfile.agreement import named as lock_name
from modelbuild.lockfile.naming import FAR
from modelbuild.recipe import files
from modelbuild.recipe.schema import Recipe

Role = Literal["model", "data", "function", "calibration"]
"""What a file is to a recipe: of its model, of its real inputs, of its user's check, of int8's ranges."""

How = Literal["file", "pattern", "code", "folder", "far"]
"""``code`` is a module's file, ``folder`` every file right in there, ``far`` a file of that name anywhere."""

_ROLES: dict[str, Role] = {"verify": "data", "precision": "calibration"}  # by the recipe's part
_IMPORT = re.compile(r"[\w.]{1,200}:[\w.]{1,200}")  # a module of n parts may be n files


@dataclass(frozen=True)
class Named:
    """A name, seen from the recipe's folder; ``route`` is where it stands."""

    role: Role
    route: str
    text: str
    how: How = "file"

    def changes(self, edits: Edits, base: str) -> Iterator[str]:
        """The changes of what it names; ``base`` is the recipe's folder."""
        place = os.path.join(base, self.text)
        if self.how == "far":
            yield from edits.called(self.text)
        elif self.how == "folder":
            yield from edits.beside(place)
        elif self.how == "pattern":
            yield from edits.matching(self.text, base)
        elif self.how == "file":
            yield from edits.hit(place)
        else:  # beside the recipe, or at the root, where commands are run
            places = (place, os.path.join(edits.root, self.text))
            for found in [path for path in places if edits.knows(path)][:1]:
                yield from edits.hit(found)
                yield from edits.imported(found)


def named(recipe: Recipe) -> Iterator[Named]:
    """What the recipe itself names: weights, files, data, and the modules of its code."""
    model = recipe.model
    for route, text in files.named(recipe):
        how: How = "pattern" if files.takes_patterns(route) else "file"
        yield Named(_ROLES.get(str(route[0]), "model"), files.key(route), text, how)
    if model.onnx:
        yield Named("model", "model.onnx", model.onnx + ".data")
    for place in _imports([model.import_, *model.args, *model.kwargs.values()]):
        yield from (Named("model", "model.import", path, "code") for path in modules(place))
    if recipe.verify.function:
        modules_of = modules(recipe.verify.function)
        yield from (Named("function", "verify.function", path, "code") for path in modules_of)


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


def locked(names: Iterable[str]) -> Iterator[Named]:
    """What a lock file names."""
    for name in map(lock_name, names):
        if name.startswith(FAR):
            yield Named("model", "lock", name[len(FAR) :], "far")
        elif name == "*" or name.endswith("/*"):
            yield Named("model", "lock", name[:-2] or ".", "folder")
        else:
            yield Named("model", "lock", name)
