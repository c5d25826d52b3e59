"""Whether two sets of a recipe's own inputs share a sample: what was calibrated on proves nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.base.tensors import Axis, TensorSpec

if TYPE_CHECKING:
    from modelbuild.steps.samples import Array

_HINT = "what was calibrated on proves nothing: keep files apart for `verify.data`"


@dataclass(frozen=True)
class FilesAt:
    """The files that a recipe names at ``key``."""

    key: str
    files: Sequence[Path]


def same_file(one: FilesAt, other: FilesAt) -> Diagnostic | None:
    """What to say of the first file that both name, be it by two names. Nothing is opened."""
    places = {os.path.realpath(path): path for path in other.files}
    for path in one.files:
        there = places.get(os.path.realpath(path))
        if there is None:
            continue
        said = f"{path.name} is in both `{one.key}` and `{other.key}`"
        if there.name != path.name:
            said = f"{path.name} of `{one.key}` and {there.name} of `{other.key}` are one file"
        return Diagnostic("inputs-mismatch", said, _HINT)
    return None


def same_sample(
    one: FilesAt, other: FilesAt, specs: Sequence[TensorSpec], axes: Sequence[Axis]
) -> Diagnostic | None:
    """What to say of the first sample that both hold, in files of whatever name. One that cannot be read
    holds none: whoever uses it says so."""
    seen = {digest: path for path in other.files for digest in _samples(path, specs, axes)}
    if not seen:
        return None
    for path in one.files:
        for digest in _samples(path, specs, axes):
            if digest in seen:
                at = f"{path.name} of `{one.key}` and {seen[digest].name} of `{other.key}`"
                return Diagnostic("inputs-mismatch", f"{at} hold the same sample", _HINT)
    return None


def _samples(path: Path, specs: Sequence[TensorSpec], axes: Sequence[Axis]) -> Iterator[bytes]:
    """The digest of each sample of a file: of all in it, and of each place along the first axis of the
    inputs where that is one and the same. One that is a single value all over is nobody's."""
    from modelbuild.steps.data import OwnInputs  # whoever asks for files alone needs no numpy

    try:
        arrays, _ = OwnInputs(specs, axes).read(path)
    except StepError:
        return
    for held in (arrays, *_rows(arrays, specs)):
        if any(array.size and (array != array.flat[0]).any() for array in held.values()):
            yield _digest(held)


def _rows(arrays: Mapping[str, Array], specs: Sequence[TensorSpec]) -> Iterator[Mapping[str, Array]]:
    first = {spec.shape[0] if spec.shape else 0 for spec in specs}
    if len(first) > 1 or not all(isinstance(axis, str) for axis in first):
        return
    count = len(arrays[specs[0].name])
    for row in range(count if count > 1 else 0):
        yield {name: array[row : row + 1] for name, array in arrays.items()}


def _digest(arrays: Mapping[str, Array]) -> bytes:
    made = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        made.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        made.update(array.tobytes())
    return made.digest()
