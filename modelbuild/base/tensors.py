"""Inputs as values: names, dtypes, shapes with named axes, and which sizes prove a graph."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count

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
        # One above the smallest, else that, else one beyond the range: each ends at what is not taken.
        free = [_free(start, unit, taken) for start in (max(first, axis.min + unit), first)]
        sizes[axis.name] = next((n for n in free if n <= axis.max), free[1])
        taken.add(sizes[axis.name])
    return sizes


def _free(start: int, step: int, taken: Collection[int]) -> int:
    return next(n for n in count(start, step) if n not in taken)


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
    missing = _relations(axes)
    for row in (low, mid, high):
        missing -= _shown(missing, row)
    rows = [low, mid, _with_equal(axes, odd, traced, missing), high]
    missing -= _shown(missing, rows[2])
    if len(axes) > 1:
        mixed = {a.name: (odd if i % 2 else low)[a.name] for i, a in enumerate(axes)}
        falling, rising = _ordered(axes, odd), _ordered(axes[::-1], odd)
        best = max((falling, rising, mixed), key=lambda row: len(_shown(missing, row)))
        rows.append(best if _shown(missing, best) else mixed)
        missing -= _shown(missing, rows[-1])
        more = [(row, missing) for row in (falling, rising)]
        # A row of the smallest sizes with two axes equal shows what that has not in these two alone.
        about = {a.name: {r for r in missing if a.name in r} for a in axes}
        more += [
            (_equal((a, b), low, max(a.min, b.min)), about[a.name] | about[b.name])
            for a, b in _overlapping(axes)
            if about[a.name] or about[b.name]
        ]
        for row, open_to_it in more:
            if shown := missing & _shown(open_to_it, row):
                rows.append(row)
                missing -= shown
        # Where a third axis has pushed one of two to its end, each at its own end shows the rest.
        for name, other, is_ in sorted(missing):
            end, start = (high, low) if is_ > 0 else (low, high)
            rows.append({**low, name: end[name], other: start[other]})
    return distinct(rows)


def distinct(rows: Iterable[dict[str, int]]) -> tuple[dict[str, int], ...]:
    """Each of these sizes of the same axes once, in their order."""
    found: dict[tuple[int, ...], dict[str, int]] = {}
    for row in rows:
        found.setdefault(tuple(row.values()), row)
    return tuple(found.values())


def reorders(axes: Sequence[Axis], row: Sizes, usual: Sequence[Sizes]) -> bool:
    """Whether two axes are in this row what they are to each other in none of the ``usual``.

    Models may refuse that (``queries <= keys``), and a recipe has no word for it.
    """
    relations = [(a.name, b.name, is_) for a, b in _overlapping(axes) for is_ in (-1, 0, 1)]
    return bool(_shown(relations, row).difference(*(_shown(relations, other) for other in usual)))


Relation = tuple[str, str, int]
"""Two axes, and what the first is to the second: smaller (-1), equal (0), larger (1)."""


def _overlapping(axes: Sequence[Axis]) -> list[tuple[Axis, Axis]]:
    return [(a, b) for a, b in combinations(axes, 2) if max(a.min, b.min) <= min(a.max, b.max)]


def _relations(axes: Sequence[Axis]) -> set[Relation]:
    """What two axes whose ranges overlap can be to each other."""
    found = set()
    for a, b in _overlapping(axes):
        found |= {(a.name, b.name, 0)}
        found |= {(a.name, b.name, -1)} if a.min < b.max else set()
        found |= {(a.name, b.name, 1)} if a.max > b.min else set()
    return found


def _shown(relations: Iterable[Relation], row: Sizes) -> set[Relation]:
    """Those of the relations that hold in this row."""
    return {(a, b, is_) for a, b, is_ in relations if (row[a] > row[b]) - (row[a] < row[b]) == is_}


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
    axes: Sequence[Axis], odd: dict[str, int], traced: Sizes, missing: Iterable[Relation]
) -> dict[str, int]:
    """The row of sizes coprime to the traced ones, with axes equal in it that are equal in no other row."""
    named = {name for a, b, order in missing if not order for name in (a, b)}
    some = [a for a in axes if a.name in named]
    if not some:
        return odd
    for size in range(max(2, *(a.min for a in some)), min(a.max for a in some) + 1):
        if all(math.gcd(size, traced[a.name]) == 1 for a in some):
            return _equal(some, odd, size)
    return odd
