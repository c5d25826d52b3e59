"""What ONNX Runtime's own integer kernels make of an int8 file, against its computation in float.

That says nothing of the file, whose proof is the computation in float: it says what a CPU of this kind
makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from modelbuild.base.errors import first_line
from modelbuild.graph import files, interface, runtime
from modelbuild.graph.files import Array, Model
from modelbuild.graph.quantization.noise import decibels
from modelbuild.graph.quantization.points import REDUCED
from modelbuild.graph.simulate import simulated
from modelbuild.machine import instructions
from modelbuild.machine.isolate import in_child


class NotRun(Exception):
    """A file that is not run, and why not."""


def measured(path: Path, feeds: Sequence[Mapping[str, Array]]) -> dict[str, Any]:
    """``sqnr``, in dB, of the output that is farthest off over these inputs (None: no output is off), with
    the ``instructions`` of this processor and the reason for what it is.

    ``feeds`` are arrays of the types of the file's inputs. It is run in a child: a kernel may end a process.

    Raises:
        NotRun: ONNX Runtime does not load or run it, or it gives no floats.
    """
    ended = in_child(lambda: _sqnr(path, feeds))
    if ended.died is not None:
        raise NotRun(f"ONNX Runtime was {ended.died}")
    if isinstance(ended.error, NotRun):
        raise ended.error
    if ended.error is not None:
        raise NotRun(f"ONNX Runtime does not run it: {first_line(ended.error)}")
    found = instructions.of_int8()
    reduced = is_reduced(files.read(path))
    why = "saturation" if instructions.saturates(found) and not reduced else "rounding"
    return {"sqnr": ended.value, "instructions": list(found), "why": why}


def is_reduced(model: Model) -> bool:
    """Whether weights keep to 7 bits, so that the sum of two products is within 16."""
    read = {n.input[0] for n in model.proto.graph.node if n.op_type == "DequantizeLinear"}
    weights = [t for t in model.proto.graph.initializer if t.data_type == TensorProto.INT8]
    return all(_largest(model.array(t)) <= REDUCED for t in weights if t.name in read)


def _largest(values: Array) -> int:
    return max(int(values.max()), -int(values.min())) if values.size else 0


def _sqnr(path: Path, feeds: Sequence[Mapping[str, Array]]) -> float | None:
    model = files.read(path)
    whole = runtime.session_of_file(path)
    exact = runtime.session(simulated(model), in_order=True)
    names = [port.name for port in interface.outputs(model)]
    sums = np.zeros((len(names), 2))
    floats: Collection[int] = ()
    for feed in feeds:
        pairs = list(zip(exact.run(names, dict(feed)), whole.run(names, dict(feed)), strict=True))
        floats = [i for i, (a, b) in enumerate(pairs) if a.dtype.kind == b.dtype.kind == "f"]
        for i in floats:
            sums[i] += _squares(*pairs[i])
    if not floats:
        raise NotRun("it gives no floats, of which there would be a ratio of signal to noise")
    found = [decibels(*sums[i]) for i in floats if math.isfinite(sums[i].sum())]
    if not found:
        raise NotRun("what it gives is not finite")
    return min((ratio for ratio in found if ratio is not None), default=None)


def _squares(exact: Array, whole: Array) -> tuple[float, float]:
    """Of the values in float and of the differences; not finite where sizes differ or a value is not."""
    if exact.shape != whole.shape:
        return math.nan, math.nan
    one, other = exact.astype(np.float64), whole.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.square(one).sum()), float(np.square(other - one).sum())
