"""Files of a recipe's own inputs (``verify.data``, calibration data), as far as their names and the directory
of an archive show: an input that has no array in one, and one that both sets name."""

from __future__ import annotations

import contextlib
import glob
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from modelbuild.base import globs, links
from modelbuild.recipe import files
from modelbuild.recipe.problems import Problem, Route, clean
from modelbuild.recipe.schema import Recipe
from modelbuild.steps.sharing import FilesAt, same_file
from modelbuild.wording.phrases import did_you_mean, few

PROOFS: Route = ("verify", "data")

_MOST_NAMES = 20_000  # that the patterns of one recipe may look at here, as for those that match nothing
_MOST_READ = 200  # files whose directory is read
_LARGEST = 1 << 20  # bytes of a directory that is read: twenty thousand arrays
_NAMED = 5  # arrays that a message names
_END = struct.Struct("<4s4H2LH")  # of an archive, as zip has it: what is in it, and where
_COMMENT = (1 << 16) - 1  # bytes that may come after that
_UNKNOWN = (1 << 32) - 1  # "see elsewhere": an archive of more than 4 GiB


def wrong_samples(recipe: Recipe, base: Path) -> Iterator[Problem]:
    """Inputs that a file has no array for, and a file that proof and calibration both name."""
    walk = globs.Walk(base, _MOST_NAMES)
    sets: dict[Route, list[tuple[Route, str]]] = {PROOFS: [], files.CALIBRATION: []}
    with contextlib.suppress(globs.TooMuch):
        for route, pattern in files.named(recipe):
            if route[:-1] in sets:
                found = walk.below("", pattern.split("/")) if glob.has_magic(pattern) else [pattern]
                sets[route[:-1]] += [(route, name) for name in sorted(found)]
    left = _MOST_READ
    for named in sets.values():
        yield from _without_arrays(recipe, base, named[:left])
        left -= len(named[:left])
    yield from _in_both(base, sets[files.CALIBRATION], sets[PROOFS])


def _without_arrays(recipe: Recipe, base: Path, named: list[tuple[Route, str]]) -> Iterator[Problem]:
    """The first file at each pattern that lacks an array."""
    told: set[Route] = set()
    for route, name in named:
        if route in told:
            continue
        arrays = _arrays(os.path.join(os.path.abspath(base), name), os.path.realpath(base))
        missing = [i for i in recipe.inputs if arrays is not None and i not in arrays]
        if arrays is None or not missing:
            continue
        told.add(route)
        has = few([f"`{clean(array)}`" for array in arrays], _NAMED) or "nothing"
        said = f"`{files.key(route)}`: {clean(name, 200)} has no array `{missing[0]}`; it has {has}"
        usual = "each file has an array per input, under the input's name"
        yield Problem(route, said, did_you_mean(missing[0], arrays, usual), "inputs-mismatch")


def _in_both(
    base: Path, calibrating: list[tuple[Route, str]], proving: list[tuple[Route, str]]
) -> Iterator[Problem]:
    """The first file at each pattern that is one of the proof's."""
    proofs = FilesAt(files.key((*PROOFS, 0)), [base / name for _, name in proving])
    for route in dict.fromkeys(route for route, _ in calibrating):
        own = FilesAt(files.key(route), [base / name for at, name in calibrating if at == route])
        found = same_file(own, proofs)
        if found is not None:
            yield Problem(route, clean(found.message, 400), found.hint or "", found.code)


def _arrays(path: str, root: str) -> list[str] | None:
    """The names of an archive's arrays; None for what is none, for what a link leads out of the recipe's
    folder to, and for one whose directory is too large to be read here."""
    if not links.leads_into(path, root) or not os.path.isfile(path):
        return None
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            file.seek(max(0, size - _END.size - _COMMENT))
            tail = file.read(_END.size + _COMMENT)
            at = tail.rfind(b"PK\5\6", 0, len(tail) - _END.size + 4)
            if at < 0:
                return None
            length = _END.unpack_from(tail, at)[5]
            if length > _LARGEST or length == _UNKNOWN:
                return None
            with zipfile.ZipFile(file) as archive:
                return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, struct.error):
        return None
