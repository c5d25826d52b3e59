"""What else a build would meet: patterns that match nothing, targets that nobody knows, files that are only
pointers, and what this machine lacks."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path

from modelbuild.base import globs, links
from modelbuild.base.errors import Diagnostic
from modelbuild.graph.quantization import opsets
from modelbuild.machine import toolchain
from modelbuild.recipe import files
from modelbuild.recipe.problems import Problem, Route, clean
from modelbuild.recipe.schema import Recipe
from modelbuild.steps.engine import RTX_KNOWN, RTX_KNOWN_TO
from modelbuild.wording.phrases import did_you_mean, listed

_MOST_NAMES = 20_000
"""Names that the patterns of one recipe may look at here. A build looks farther, and says so itself."""

_POINTER = b"version https://git-lfs"


def empty_patterns(recipe: Recipe, base: Path) -> Iterator[Problem]:
    """Patterns that match no file now."""
    walk = globs.Walk(base, _MOST_NAMES)
    for route, pattern in files.named(recipe):
        if not (files.takes_patterns(route) and glob.has_magic(pattern)):
            continue
        try:
            found = next(walk.below("", pattern.split("/")), None)
        except globs.TooMuch:
            return
        if found is None:
            said = f"`{files.key(route)}`: `{clean(pattern, 200)}` matches no file in {clean(str(base), 200)}"
            yield Problem(route, said, "patterns are relative to the recipe's folder")


def pointers(recipe: Recipe, base: Path) -> Iterator[Problem]:
    """Files in whose place git-lfs has left a pointer."""
    for route, name in files.named(recipe):
        if files.takes_patterns(route):
            continue
        place = os.path.join(os.path.abspath(base), name)
        if links.leads_into(place, os.path.realpath(base)) and _begins(place, _POINTER):
            at = f"`{files.key(route)}`: `{clean(name, 200)}`"
            said = f"{at} is a pointer of git-lfs, and not the file itself"
            yield Problem(route, said, "run `git lfs pull`")


def unknown_targets(recipe: Recipe) -> Iterator[Problem]:
    """Targets that no release of TensorRT-RTX has had; nothing is said where a newer one is installed."""
    if not any(engine.targets for engine in recipe.engines) or _is_newer():
        return
    for number, engine in enumerate(recipe.engines):
        for place, target in enumerate(engine.targets):
            if target not in RTX_KNOWN:
                said = f"TensorRT-RTX has no target `{target}`"
                hint = did_you_mean(target, RTX_KNOWN, "") or f"its targets are {listed(RTX_KNOWN)}"
                yield Problem(("engines", number, "targets", place), said, hint)


def _is_newer() -> bool:
    (installed,) = toolchain.versions(["tensorrt-rtx"]).values()
    numbers = re.match(r"(\d+)\.(\d+)", installed or "")
    return numbers is not None and (int(numbers[1]), int(numbers[2])) > RTX_KNOWN_TO


def raised_opset(recipe: Recipe) -> Iterator[tuple[Route, Diagnostic]]:
    """A word on an opset that is too low for what the recipe asks of int8."""
    int8, asked = recipe.precision.int8, recipe.opset
    if int8 is None or asked is None or asked >= (needed := opsets.NEEDED[int8.base]):
        return
    said = f"int8 with {int8.base} around it needs opset {needed}: its files are raised from {asked}"
    yield ("opset",), Diagnostic("opset-mismatch", said, opsets.cure(int8.base), level="info")


def unwritable(folder: Path) -> str | None:
    """Why nothing can be written into this folder, which need not be there; None if it can."""
    place = folder.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"{place} is no folder"
    return None if os.access(place, os.W_OK | os.X_OK) else f"{place} is not yours to write"


def _begins(path: str, what: bytes) -> bool:
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return file.read(len(what)) == what
    except OSError:
        return False
