"""Where in the axes' ranges forward() takes another path than the traced one.

torch.export writes down what it assumed about sizes (``L['x'].size()[0] != 5``) and the exporter
drops that note. A branch on one size in a thousand would pass every sampled size, so the sizes at
which an assumption does not hold are compared one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from modelbuild.tensors import TensorSpec

# A range of a million sizes is looked at in this many steps.
_MOST_SIZES = 4096
_MOST_PER_AXIS = 4
_SIZE = re.compile(r"L\['?(\w+)'?\]\.size\(\)\[(\d+)\]")
_ARITHMETIC = re.compile(r"[\d\s()<>=!%*/+\-.andotr]*")


@contextmanager
def recorded() -> Iterator[list[str]]:
    """The assumptions of every program that torch.export makes inside.

    The exporter hands on a decomposed copy without them, so they are read from the original. It
    also asks for run-time asserts in their place, which ONNX does not have; that way is left for
    programs that can be traced in no other.
    """
    import torch

    found: list[str] = []
    real = torch.export.export

    def export(*args: Any, **kwargs: Any) -> Any:
        try:
            program = real(*args, **{**kwargs, "prefer_deferred_runtime_asserts_over_guards": False})
        except Exception:
            program = real(*args, **kwargs)
        found.extend(getattr(program, "_guards_code", None) or ())
        return program

    torch.export.export = export
    try:
        yield found
    finally:
        torch.export.export = real


def exceptions(
    guards: Sequence[str], inputs: Sequence[TensorSpec], ranges: Mapping[str, tuple[int, int]]
) -> dict[str, list[int]]:
    """For each axis, a few sizes inside its range at which a guard fails.

    Its ends are left to the proof, which always compares there, and measures.
    Guards about several axes at once, or about anything but sizes, are passed over.
    """
    shapes = {s.name: s.shape for s in inputs}
    found: dict[str, list[int]] = {}
    for guard in guards:
        axes = set()
        for name, index in _SIZE.findall(guard):
            shape = shapes.get(name, ())
            axes.add(shape[int(index)] if int(index) < len(shape) else None)
        if len(axes) != 1:
            continue
        (axis,) = axes
        if not isinstance(axis, str) or axis not in ranges:
            continue
        low, high = ranges[axis]
        step = max(1, (high - low) // _MOST_SIZES)
        failing = [n for n in range(low + 1, high, step) if not _holds(guard, n)]
        ends = [*failing[:1], *failing[len(failing) // 2 :][:1], *failing[-1:]]
        found[axis] = sorted({*found.get(axis, []), *ends})[:_MOST_PER_AXIS]
    return {axis: sizes for axis, sizes in found.items() if sizes}


def _holds(guard: str, size: int) -> bool:
    """The guard with one number for its axis; True for what is not plain arithmetic."""
    text = _SIZE.sub(str(size), guard)
    if not _ARITHMETIC.fullmatch(text):
        return True
    try:
        return bool(eval(text, {"__builtins__": {}}))
    except Exception:
        return True
