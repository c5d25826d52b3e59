"""What a draft consists of, whatever it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelbuild.base.tensors import TensorSpec, Values

BASES = {"batch": 2, "sequence": 16, "decoder_sequence": 12, "samples": 4000}
"""The sizes of axes that a model is first tried at; what it can be tried at is in ``DraftInput.sizes``."""


@dataclass(frozen=True)
class DraftInput:
    """A line under ``inputs``. ``note`` says what the shape rests on, ``sizes`` at which sizes of its
    named axes to try it where ``BASES`` does not say. A ``settled`` shape is its owner's, and no guess."""

    name: str
    shape: tuple[int | str, ...]
    note: str
    dtype: str = "float32"
    values: Values = field(default_factory=Values)
    sizes: Mapping[str, int] = field(default_factory=dict)
    settled: bool = False

    @property
    def axes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(d for d in self.shape if isinstance(d, str)))

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.dtype, self.shape, self.values)


@dataclass(frozen=True)
class GuessedRange:
    """The sizes of an axis, in elements; ``note`` says what was found. A ``settled`` one is its owner's."""

    min: int
    opt: int
    max: int
    note: str = ""
    settled: bool = False


@dataclass(frozen=True)
class Findings:
    """What the recipe will say: ``inputs`` whose named axes are those of ``axes``, and ``outputs`` by
    name (None: not known). ``notes`` are for the head of the file."""

    inputs: tuple[DraftInput, ...]
    axes: Mapping[str, GuessedRange]
    outputs: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    tried: bool = False


def base(inputs: tuple[DraftInput, ...]) -> dict[str, int] | None:
    """A size for every axis of these inputs; None if two of them want it different."""
    sizes: dict[str, int] = {}
    for given in inputs:
        for axis in given.axes:
            size = given.sizes.get(axis) or BASES.get(axis, BASES["batch"])
            if sizes.setdefault(axis, size) != size:
                return None
    return sizes


def whole(low: int, high: int) -> Values:
    """Whole numbers from ``low``, below ``high``."""
    return Values(low=float(low), high=float(high))
