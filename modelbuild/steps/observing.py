"""What is told of a proven int8 file beside its proof: how noisy each int8 node is, and what this machine's
ONNX Runtime makes of the file."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base import passing
from modelbuild.steps import reference
from modelbuild.steps.losses import Upstream

if TYPE_CHECKING:
    from modelbuild.graph.files import Model
    from modelbuild.steps.samples import Array

_MOST = 3  # inputs
_LARGEST = 1 << 24  # bytes of one that is looked at though smaller ones were recorded


def observed(model: Model, path: Path, recorded: Path) -> dict[str, Any]:
    """``nodes`` and ``runtime`` of the file at ``path``, made of the float32 ``model``, on a few of the
    inputs ``recorded``; a part that cannot be measured is missing, as the file is proven without it."""
    inputs = list(_inputs(recorded))
    found: dict[str, Any] = {}
    for name, measure in (("nodes", _nodes), ("runtime", _runtime)):
        try:
            found[name] = measure(model, path, inputs)
        except Exception as error:
            passing.met(error)
            traceback.print_exc()
    return found


def _nodes(model: Model, path: Path, inputs: list[dict[str, Array]]) -> list[dict[str, Any]]:
    """A row of JSON per int8 node, the worst first; ``upstream`` are the nodes before, whose lines are looked
    up."""
    from modelbuild.graph import files
    from modelbuild.graph.quantization.noise import noise

    upstream = Upstream(model)
    feeds = (_typed(model, arrays) for arrays in inputs)
    rows = [asdict(row) for row in noise(model, files.read(path), feeds)]
    return [{**_rounded(row), "upstream": upstream.of(row.pop("tensor"))} for row in rows]


def _runtime(model: Model, path: Path, inputs: list[dict[str, Array]]) -> dict[str, Any]:
    from modelbuild.graph import files
    from modelbuild.graph.quantization.kernels import NotRun, measured

    made = files.read(path)
    try:
        return _rounded(measured(path, [_typed(made, arrays) for arrays in inputs]))
    except NotRun as reason:
        return {"not_run": str(reason)}


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is in dB, to hundredths: more digits differ from one machine to the next."""
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in row.items() if k != "tensor"}


def _typed(model: Model, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays in the types of a model's inputs."""
    import numpy as np

    from modelbuild.graph import files, interface

    return {p.name: np.asarray(arrays[p.name], files.numpy_dtype(p.dtype)) for p in interface.inputs(model)}


def _inputs(recorded: Path) -> Iterator[dict[str, Array]]:
    """The recipe's own inputs if they are small, as they are like those that will come; then the smallest."""
    rows = [reference.Case(**row) for row in json.loads((recorded / reference.INDEX).read_text())]
    rows.sort(key=lambda case: (math.prod(case.sizes.values()), case.file))
    found = 0
    for case in sorted(rows, key=lambda case: case.row is not None):
        arrays, _ = reference.load_case(recorded, case.file)
        if case.row is None and sum(a.nbytes for a in arrays.values()) > _LARGEST:
            continue
        yield arrays
        found += 1
        if found == _MOST:
            return
