"""Inputs as values: names, dtypes, shapes with named axes, and which sizes prove a graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

DTYPES = (
    "float32", "float16", "float64", "int8", "int16", "int32", "int64", "uint8", "bool",
)  # fmt: skip

ITEM_BYTES = {
    "float32": 4, "float16": 2, "float64": 8, "int8": 1, "int16": 2, "int32": 4, "int64": 8,
    "uint8": 1, "bool": 1,
}  # fmt: skip

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Axis:
    """A dynamic axis: 1 <= min <= opt <= max, in elements."""

    name: str
    min: int
    opt: int
    max: int

    @property
    def unit(self) -> int:
        """What divides all three: models that downsample accept multiples only, and say it here."""
        return math.gcd(self.min, self.opt, self.max)


@dataclass(frozen=True)
class Values:
    """How an input is filled. One of uniform ``low <= x < high``, normal, constant."""

    low: float | None = None
    high: float | None = None
    mean: float | None = None
    std: float | None = None
    constant: float | None = None

    @property
    def varies(self) -> bool:
        if self.constant is not None:
            return False
        return self.low is None or self.high is None or self.high - self.low > 1


@dataclass(frozen=True)
class TensorSpec:
    """One ONNX input: an int in ``shape`` is a fixed axis, a str a dynamic one; ``()`` is a scalar."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    values: Values = Values()

    def at(self, sizes: Sizes) -> tuple[int, ...]:
        """The shape at these sizes of the dynamic axes."""
        return tuple(sizes[d] if isinstance(d, str) else d for d in self.shape)

    def pinned(self, sizes: Sizes) -> TensorSpec:
        """The same input with some axes fixed."""
        shape = tuple(sizes.get(d, d) if isinstance(d, str) else d for d in self.shape)
        return TensorSpec(self.name, self.dtype, shape, self.values)


def traced_sizes(axes: Sequence[Axis], fixed: Iterable[int] = ()) -> dict[str, int]:
    """The sizes to trace at: >= 2 and distinct, whatever ``opt`` says.

    An exporter that meets size 1 bakes it, and one that meets two equal sizes (of two axes, or of
    an axis and a channel count) may take one for the other.
    """
    taken = set(fixed)
    sizes: dict[str, int] = {}
    for axis in axes:
        unit = axis.unit
        first = max(axis.min // unit, -(-2 // unit), 1) * unit
        wanted = [n for n in range(first, axis.max + 1, unit) if n not in taken and n >= 2]
        above_min = [n for n in wanted if n > axis.min]
        beyond = next(n for n in range(first, first + unit * 1_000_000, unit) if n not in taken and n >= 2)
        sizes[axis.name] = (above_min or wanted or [beyond])[0]
        taken.add(sizes[axis.name])
    return sizes


def coprime_size(axis: Axis, traced: int) -> int | None:
    """A small size in range that shares no factor with ``traced`` and is not min, max or 1."""
    for n in range(max(axis.min, 2), axis.max):
        if math.gcd(n, traced) == 1 and n != axis.min:
            return n
    return None


def sampled_sizes(axes: Sequence[Axis], traced: Sizes) -> tuple[dict[str, int], ...]:
    """The sizes to run at: min, traced, coprime to traced, max, and for two or more axes a mix.

    All axes move together, so that there are few combinations: five, and for ranges that only
    partly overlap some more. Of two axes whose ranges overlap, either is the larger in some
    row, and they are equal in one: models ask ``if height > width``.
    """
    if not axes:
        return ({},)
    low = {a.name: a.min for a in axes}
    mid = {a.name: min(max(traced[a.name], a.min), a.max) for a in axes}
    odd = {a.name: coprime_size(a, traced[a.name]) or mid[a.name] for a in axes}
    high = {a.name: a.max for a in axes}
    rows = [low, mid, _with_equal(axes, odd, traced, (low, mid, high)), high]
    if len(axes) > 1:
        mixed = {a.name: (odd if i % 2 else low)[a.name] for i, a in enumerate(axes)}
        falling, rising = _ordered(axes, odd), _ordered(axes[::-1], odd)
        missing = _relations(axes) - _seen(axes, rows)
        best = max((falling, rising, mixed), key=lambda row: len(missing & _seen(axes, [row])))
        rows.append(best if missing & _seen(axes, [best]) else mixed)
        more = [falling, rising]
        more += [_equal(p, low, max(a.min for a in p)) for p in _overlapping(axes)]
        for row in more:
            missing = _relations(axes) - _seen(axes, rows)
            if missing & _seen(axes, [row]):
                rows.append(row)
    unique: list[dict[str, int]] = []
    for row in rows:
        if row not in unique:
            unique.append(row)
    return tuple(unique)


def reorders(axes: Sequence[Axis], row: Sizes, usual: Sequence[Sizes]) -> bool:
    """Whether two axes are in this row what they are to each other in none of the ``usual``.

    Models may refuse that (``queries <= keys``), and a recipe has no word for it.
    """
    return bool(_seen(axes, [row]) - _seen(axes, usual))


def _overlapping(axes: Sequence[Axis]) -> list[tuple[Axis, Axis]]:
    return [(a, b) for a, b in combinations(axes, 2) if max(a.min, b.min) <= min(a.max, b.max)]


def _relations(axes: Sequence[Axis]) -> set[tuple[str, str, int]]:
    """What two axes whose ranges overlap can be to each other: smaller (-1), equal (0), larger (1)."""
    found = set()
    for a, b in _overlapping(axes):
        found |= {(a.name, b.name, 0)}
        found |= {(a.name, b.name, -1)} if a.min < b.max else set()
        found |= {(a.name, b.name, 1)} if a.max > b.min else set()
    return found


def _seen(axes: Sequence[Axis], rows: Iterable[Sizes]) -> set[tuple[str, str, int]]:
    return {
        (a.name, b.name, (row[a.name] > row[b.name]) - (row[a.name] < row[b.name]))
        for row in rows
        for a, b in _overlapping(axes)
    }


def _ordered(axes: Sequence[Axis], wanted: Sizes) -> dict[str, int]:
    """A row in which each axis is larger than those after it, where its range allows; small sizes."""
    row: dict[str, int] = {}
    for i in reversed(range(len(axes))):
        axis = axes[i]
        after = [row[b.name] for b in axes[i + 1 :] if row[b.name] < axis.max]
        least = max([axis.min, *(n + 1 for n in after)])
        multiple = -(-least // axis.unit) * axis.unit
        row[axis.name] = multiple if multiple <= axis.max else least
        if not after:
            row[axis.name] = axis.min if i else wanted[axis.name]
    return {name: row[name] for name in wanted}


def _equal(some: Iterable[Axis], row: Sizes, size: int) -> dict[str, int]:
    return {**row, **{a.name: size for a in some}}


def _with_equal(
    axes: Sequence[Axis], odd: dict[str, int], traced: Sizes, others: Iterable[Sizes]
) -> dict[str, int]:
    """The row of sizes coprime to the traced ones, with axes equal in it that are equal in no other row."""
    missing = {(a, b) for a, b, order in _relations(axes) - _seen(axes, others) if not order}
    some = [a for a in axes if any(a.name in pair for pair in missing)]
    if not some:
        return odd
    for size in range(max(2, *(a.min for a in some)), min(a.max for a in some) + 1):
        if all(math.gcd(size, traced[a.name]) == 1 for a in some):
            return _equal(some, odd, size)
    return odd
