"""Where in the axes' ranges forward() takes another path than the traced one.

torch.export writes down what it assumed about sizes (``L['x'].size()[0] != 5``) and the exporter
drops that note. A branch on one size in a thousand would pass every sampled size, so the
assumptions are solved for sizes at which they fail, and the graph is compared there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from modelbuild.base import passing
from modelbuild.base.tensors import Sizes, TensorSpec
from modelbuild.steps.conditions import Condition, Numbers, Where, parse

if TYPE_CHECKING:
    import torch

Ranges = Mapping[str, tuple[int, int]]

# All sizes of an axis are looked at up to this many, so many at a time.
_MOST_SIZES = 2**24
_AT_ONCE = 2**20
# Of one axis beside all sizes of another: these many are looked at.
_BESIDE = 256
_MOST_ROWS = 2**14
_PER_CONDITION = 4
_PER_VALUE = 32


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
        except Exception as error:
            passing.met(error)
            program = real(*args, **kwargs)
        found.extend(getattr(program, "_guards_code", None) or ())
        return program

    torch.export.export = export
    try:
        yield found
    finally:
        torch.export.export = real


def places(module: torch.nn.Module, inputs: Sequence[TensorSpec]) -> Where:
    """What ``L['x'].size()[0]`` is in a guard: the axis of an input, by the parameter that takes it.

    A program that dynamo traced numbers the inputs instead: ``L['flat_args'][0]``.
    """
    from modelbuild.steps import scripts
    from modelbuild.steps.binding import bind

    args, kwargs = bind(module, [s.name for s in inputs], list(inputs))
    found: dict[str, TensorSpec] = {f"L['{name}']": spec for name, spec in kwargs.items()}
    left = list(args)
    for name, parameter in scripts.signature(module).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            found |= {f"L['{name}'][{i}]": spec for i, spec in enumerate(left)}
        elif parameter.kind is parameter.VAR_KEYWORD:
            found |= {f"L['{name}']['{n}']": spec for n, spec in kwargs.items()}
        elif left:
            found[f"L['{name}']"] = left.pop(0)
    found |= {f"L['flat_args'][{i}]": spec for i, spec in enumerate((*args, *kwargs.values()))}
    sizes = {
        f"{source}.size()[{i}]": axis for source, spec in found.items() for i, axis in enumerate(spec.shape)
    }
    return sizes.get


def conditions(guards: Sequence[str], where: Where, ranges: Ranges) -> tuple[list[Condition], list[str]]:
    """The guards that sizes in the ranges decide, and those that nothing here can evaluate."""
    found, unread = [], []
    for guard in dict.fromkeys(guards):
        condition = parse(guard, where)
        if condition is None:
            unread.append(guard)
        elif condition.axes and all(a in ranges for a in condition.axes):
            found.append(condition)
    return found, unread


@dataclass(frozen=True)
class Failing:
    """Sizes at which a condition fails, the first to try first, and in words what they leave out."""

    sizes: tuple[dict[str, int], ...]
    left: str = ""


def failing(condition: Condition, ranges: Ranges, traced: Sizes, given: Sequence[Condition] = ()) -> Failing:
    """A few sizes of the condition's axes at which it does not hold, cheapest first.

    If there are any, they are sizes at which those ``given`` do hold: what forward() asked before.
    Where all axes are at their smallest, or all at their largest, is left to the proof, which
    always compares there, and measures. Sizes that share the factor of their axis's ends come
    first: models that downsample take no others. Where something was fixed at one value, there is
    a size for each of its other values.
    """
    before = [c for c in given if set(c.axes) <= set(condition.axes)]
    low, high, unit = (
        np.array([of(*ranges[a], traced[a]) for a in condition.axes])
        for of in (lambda low, *_: low, lambda _, high, __: high, math.gcd)
    )
    found = [_failing(condition, grid, before) for grid in _grids(condition, ranges, traced)]
    rows = np.concatenate([_thinned(rows, _MOST_ROWS) for rows in found])
    rows = np.unique(rows[~((rows == low).all(1) | (rows == high).all(1))], axis=0)
    if before and not len(rows):
        return failing(condition, ranges, traced)
    rows = rows[np.argsort(rows.prod(1, dtype=float), kind="stable")]
    fits = (rows % unit == 0).all(1)
    picked = np.concatenate([_picked(rows[fits]), _picked(rows[~fits])[:1]])[:_PER_CONDITION]
    left = ""
    if condition.fixes is not None and len(rows):
        some = rows[fits] if fits.any() else rows
        values = condition.values({a: some[:, i] for i, a in enumerate(condition.axes)})
        telling = some[np.sort(np.unique(values, return_index=True)[1])]
        if len(telling) > _PER_VALUE:
            left = f"at all other values of `{condition.fixes}`: {_PER_VALUE} of {len(telling)} were tried"
        picked = np.concatenate([picked, _thinned(telling, _PER_VALUE)])
    unique = dict.fromkeys(tuple(map(int, row)) for row in picked)
    return Failing(tuple(dict(zip(condition.axes, row, strict=True)) for row in unique), left)


def _picked(rows: Numbers) -> Numbers:
    """The first, one in the middle, and the last."""
    return rows[[0, len(rows) // 2, len(rows) - 1] if len(rows) else []]


def _failing(condition: Condition, grid: Mapping[str, Numbers], given: Sequence[Condition]) -> Numbers:
    """Rows of sizes at which it fails and those given hold, of a grid whose arrays broadcast."""
    fails = ~condition.holds(grid)
    for other in given:
        fails = fails & other.holds(grid)
    return np.stack([np.broadcast_to(grid[a], fails.shape)[fails] for a in condition.axes], 1)


def _thinned(rows: Numbers, most: int) -> Numbers:
    """First, last and a spread between, where there are more than that."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, most).astype(int)])


def _grids(condition: Condition, ranges: Ranges, traced: Sizes) -> Iterator[dict[str, Numbers]]:
    if len(condition.axes) == 1:
        (axis,) = condition.axes
        low, high = ranges[axis]
        if high - low < _MOST_SIZES:
            for start in range(low, high + 1, _AT_ONCE):
                yield {axis: np.arange(start, min(start + _AT_ONCE, high + 1))}
            return
        yield {axis: _some(axis, _AT_ONCE, condition, ranges, traced)}
        return
    count = len(condition.axes)
    beside = max(2, int(_BESIDE ** (1 / (count - 1))))
    at_once = _AT_ONCE // beside ** (count - 1)
    for full in condition.axes:
        grid = {}
        for i, axis in enumerate(condition.axes):
            points = _some(axis, at_once if axis == full else beside, condition, ranges, traced)
            grid[axis] = points.reshape([-1 if i == j else 1 for j in range(count)])
        yield grid


def _some(axis: str, most: int, condition: Condition, ranges: Ranges, traced: Sizes) -> Numbers:
    """All sizes of an axis, or those that the condition names, the ends of all its axes, and a spread."""
    low, high = ranges[axis]
    if high - low < most:
        return np.arange(low, high + 1)
    ends = {n for a in condition.axes for n in (*ranges[a], traced[a])}
    named = {n + d for n in (*ends, *condition.constants) for d in (-1, 0, 1)}
    telling = sorted(n for n in named if low <= n <= high)[: most // 2]
    spread = np.linspace(low, high, max(2, most - len(telling))).astype(np.int64)
    return np.unique(np.concatenate([spread, np.array(telling, np.int64)]))
