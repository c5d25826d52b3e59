"""How far PyTorch is from itself: in float64, or with what it reads moved by one unit in the last place.

Where a model magnifies rounding, no exporter is nearer to PyTorch than PyTorch is to what it would
compute without rounding. Asked only where a float32 proof fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelbuild.base import passing
from modelbuild.base.tolerance import Tolerance
from modelbuild.machine import environment
from modelbuild.steps import compare, figures
from modelbuild.steps.figures import Distance
from modelbuild.steps.model import LiveModel, ModelSource

if TYPE_CHECKING:
    import torch

    from modelbuild.steps.samples import Array

IN_FLOAT64 = "in float64"
MOVED = "with inputs and weights moved by one unit in the last place"
_TRIES = 3  # moves of which the farthest counts


@dataclass(frozen=True)
class Own:
    """PyTorch's float32 against itself on one input, by output; None where the shapes differ."""

    how: str
    distances: tuple[Distance | None, ...]


def times(artifact: Distance, own: Distance) -> float:
    """The artifact's error as a multiple of PyTorch's own on that input, by the same tolerance."""
    return own.headroom / artifact.headroom if artifact.headroom > 0 else float("inf")


def times_counted(pairs: Sequence[tuple[Distance, Distance]]) -> float:
    """As ``times`` for integers and bools, over several inputs: one code may flip here, another there."""
    flipped, own = (sum(d.beyond for d in found) for found in zip(*pairs, strict=True)) if pairs else (0, 0)
    return flipped / own if own else float("inf")


def measured(
    source: ModelSource,
    base: Path,
    names: Sequence[str],
    cases: Iterable[tuple[Mapping[str, Array], Sequence[Array]]],
    bounds: Sequence[tuple[Tolerance, bool]],
) -> list[Own | None]:
    """PyTorch against itself on each case (inputs, and what it computed in float32).

    ``bounds`` has for each output the tolerance, and whether floats decide its integers. None where
    neither float64 nor moved inputs give an answer.

    Raises:
        StepError: the model cannot be made.
    """
    environment.make_importable(base, Path.cwd())  # nothing else has, where the proof reads no code
    kept = [(dict(arrays), list(outs)) for arrays, outs in cases]
    ways: list[tuple[str, Callable[[Mapping[str, Array]], list[list[Array]]]]] = [
        (IN_FLOAT64, _in_float64(source, base, names)),
        (MOVED, _moved(source, base, names)),
    ]
    for how, call in ways:
        try:
            return [Own(how, _farthest(outs, call(arrays), bounds)) for arrays, outs in kept]
        except Exception as error:  # a constant that is float32, whatever the model is
            passing.met(error)
            continue
    return [None] * len(kept)


def _farthest(
    expected: Sequence[Array], others: Sequence[Sequence[Array]], bounds: Sequence[tuple[Tolerance, bool]]
) -> tuple[Distance | None, ...]:
    found: list[Distance | None] = []
    for index, (want, (bound, counted)) in enumerate(zip(expected, bounds, strict=True)):
        rows = [
            compare.distance(want, outs[index], bound, counted=counted)
            for outs in others
            if outs[index].shape == want.shape
        ]
        found.append(figures.worst_of(rows) if rows else None)
    return tuple(found)


def _in_float64(
    source: ModelSource, base: Path, names: Sequence[str]
) -> Callable[[Mapping[str, Array]], list[list[Array]]]:
    live: list[LiveModel] = []

    def call(arrays: Mapping[str, Array]) -> list[list[Array]]:
        if not live:
            live.append(LiveModel.untraced(source, base))
            live[0].module.double()
        return [_called(live[0], names, {n: _as(a, "float64") for n, a in arrays.items()})]

    return call


def _moved(
    source: ModelSource, base: Path, names: Sequence[str]
) -> Callable[[Mapping[str, Array]], list[list[Array]]]:
    def call(arrays: Mapping[str, Array]) -> list[list[Array]]:
        import numpy as np
        import torch

        found = []
        for number in range(_TRIES):
            live = LiveModel.untraced(source, base)
            torch.manual_seed(number)
            with torch.no_grad():
                for weight in (*live.module.parameters(), *live.module.buffers()):
                    if weight.is_floating_point():
                        weight.copy_(_nudged(weight))
            rng = np.random.default_rng(number)
            moved = {
                n: np.nextafter(a, np.where(rng.random(a.shape) < 0.5, np.inf, -np.inf).astype(a.dtype))
                if a.dtype.kind == "f"
                else a
                for n, a in arrays.items()
            }
            found.append(_called(live, names, moved))
        return found

    return call


def _nudged(weight: torch.Tensor) -> torch.Tensor:
    import torch

    ends = torch.where(torch.rand(weight.shape) < 0.5, torch.inf, -torch.inf).to(weight.dtype)
    return torch.nextafter(weight, ends)


def _called(live: LiveModel, names: Sequence[str], arrays: Mapping[str, Array]) -> list[Array]:
    import torch

    from modelbuild.steps import samples

    outs = live.call(names, samples.as_tensors({n: arrays[n] for n in names}))
    return [(t.float() if t.dtype in (torch.bfloat16, torch.float16) else t).numpy() for t in outs]


def _as(array: Array, dtype: str) -> Array:
    return array.astype(dtype) if array.dtype.kind == "f" else array
