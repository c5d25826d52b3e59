"""Which axes may be dynamic, and how far: found by running the model at other sizes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from modelbuild.base.tensors import Axis, reorders, sampled_sizes, traced_sizes
from modelbuild.setup.drafting.ranges import Ranges, is_batch
from modelbuild.setup.drafting.trying import Attempt, OutOfTime
from modelbuild.setup.drafting.values import DraftInput, GuessedRange, base

_UNITS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 96, 128)
SPATIAL = ("length", "frames", "height", "width")
"""Axes of signals and images; what is learned is often of one size."""

_WORTH = 1.25  # a network for 28 x 28 that rounds runs up to 31: that is no free size
NOT_TRIED = "check: other sizes were not tried, it takes too long"


@dataclass(frozen=True)
class Freed:
    """Inputs whose named axes may be dynamic, with their ranges; the other axes are numbers now."""

    inputs: tuple[DraftInput, ...]
    axes: Mapping[str, GuessedRange]
    notes: tuple[str, ...] = ()


def free(
    trial: Attempt, inputs: tuple[DraftInput, ...], wanted: Ranges, fixed: Collection[str] = ()
) -> Freed:
    """Try every named axis of inputs that run. Those in ``fixed`` stay as they are."""
    inputs = _apart(trial, inputs)
    sizes = base(inputs)
    assert sizes is not None  # they ran
    axes: dict[str, GuessedRange] = {}
    stuck: list[str] = []
    for axis, size in sizes.items():
        found = None if axis in fixed else _range(trial, inputs, sizes, axis, wanted(axis, size))
        if found is None:
            stuck.append(axis)
        else:
            axes[axis] = found
    notes = _said(stuck, sizes, fixed)
    inputs = pinned(inputs, {a: sizes[a] for a in stuck})
    while axes and (failing := _fails_together(trial, inputs, axes)):
        axis = next(a for a in reversed(axes) if a != "batch" or len(axes) == 1)
        notes.append(f"`{axis}` is fixed: at {failing} the model fails, although each axis alone may move")
        inputs = pinned(inputs, {axis: sizes[axis]})
        del axes[axis]
    return Freed(inputs, axes, tuple(notes))


def _apart(trial: Attempt, inputs: tuple[DraftInput, ...]) -> tuple[DraftInput, ...]:
    """The inputs, with an axis of its own for each whose batch is nobody else's, as in images and
    texts that are compared all with all. Inputs that share another axis belong together, also where the
    model does not look: it skips a mask of ones."""
    sizes = base(inputs)
    assert sizes is not None
    for place, given in enumerate(inputs[1:], start=1):
        others = {a for i in inputs if i is not given for a in i.axes}
        with_others = {a for a in given.axes if a in others}
        if given.settled or given.name.startswith("decoder_") or with_others != {"batch"}:
            continue
        own = f"{given.name}_batch"
        alone = replace(given, shape=tuple(own if d == "batch" else d for d in given.shape))
        moved = (*inputs[:place], alone, *inputs[place + 1 :])
        try:
            # 3000 frames of two samples can be taken for those of three, but not of seven
            if all(trial.holds(moved, {**sizes, own: n}) for n in (3, 7)):
                inputs, sizes = moved, {**sizes, own: sizes["batch"]}
        except OutOfTime:
            break
    return inputs


def _range(
    trial: Attempt, inputs: Sequence[DraftInput], sizes: Mapping[str, int], axis: str, wanted: GuessedRange
) -> GuessedRange | None:
    """The part of ``wanted`` at which the model runs; None if it runs at one size only."""
    size = sizes[axis]

    def runs(n: int) -> bool:
        return trial.holds(inputs, {**sizes, axis: n})

    try:
        unit = 1 if runs(size + 1) or (size > 2 and runs(size - 1)) else _unit(runs, size)
        if unit is None:
            return None
        low = _bound(runs, size, _multiple(wanted.min, unit), unit)
        high = _bound(runs, size, _multiple(max(wanted.max, size), unit), unit)
    except OutOfTime:
        return replace(wanted, note=NOT_TRIED) if is_batch(axis) or "sequence" in axis else None
    if low == high or (axis in SPATIAL and high < low * _WORTH and not wanted.settled):
        return None
    opt = min(max(_multiple(wanted.opt, unit), low), high)
    said = []
    if unit > 1:
        said.append(f"only multiples of {unit} run")
    if low > _multiple(wanted.min, unit):
        said.append(f"fewer than {low} do not run")
    if high < _multiple(wanted.max, unit):
        said.append(f"more than {high} do not run")
    return replace(wanted, min=low, opt=opt, max=high, note="; ".join(said))


def _unit(runs: Callable[[int], bool], size: int) -> int | None:
    """The number whose multiples run, where not every size does."""
    return next(
        (u for u in _UNITS if size % u == 0 and (runs(size + u) or (size > u and runs(size - u)))), None
    )


def _multiple(n: int, unit: int) -> int:
    return max(unit, n - n % unit)


def _bound(runs: Callable[[int], bool], good: int, end: int, unit: int) -> int:
    """How far from ``good`` towards ``end`` the model runs, if it runs as far as it does without gaps."""
    if good == end or runs(end):
        return end
    bad = end
    while abs(good - bad) > unit:
        middle = (good + bad) // 2 // unit * unit
        if middle in (good, bad):
            middle = max(good, bad) - unit
        if runs(middle):
            good = middle
        else:
            bad = middle
    return good


def pinned(inputs: Sequence[DraftInput], sizes: Mapping[str, int]) -> tuple[DraftInput, ...]:
    """The inputs with numbers in the place of these axes."""
    return tuple(
        replace(i, shape=tuple(sizes.get(d, d) if isinstance(d, str) else d for d in i.shape)) for i in inputs
    )


def _said(stuck: Sequence[str], sizes: Mapping[str, int], fixed: Collection[str]) -> list[str]:
    alone = [a for a in stuck if a not in fixed]
    return [f"{a} is fixed at {sizes[a]}: the model does not run at other sizes" for a in alone]


def _fails_together(
    trial: Attempt, inputs: Sequence[DraftInput], axes: Mapping[str, GuessedRange]
) -> str | None:
    """The first of the sizes that a build compares at where the model fails; None if there is none."""
    named = [Axis(n, r.min, r.opt, r.max) for n, r in axes.items()]
    numbers = {d for i in inputs for d in i.shape if isinstance(d, int)}
    rows = sampled_sizes(named, traced_sizes(named, numbers))
    usual = (*rows[:2], {a.name: a.max for a in named})
    for row in rows:
        if any(row[a.name] % a.unit for a in named) or reorders(named, row, usual):
            continue  # a build rounds it to what the model takes, or goes without
        try:
            if not trial.holds(inputs, row):
                return ", ".join(f"{n}={v}" for n, v in row.items())
        except OutOfTime:
            continue  # a smaller one may still have its turn
    return None
