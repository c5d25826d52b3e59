"""Input values: random ones, as a recipe's ``values`` say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelbuild.base.tensors import Sizes, TensorSpec

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]


def random_inputs(specs: Sequence[TensorSpec], sizes: Sizes, seed: Sequence[int]) -> dict[str, Array]:
    """One value per input, of its shape and dtype; the same for the same seed everywhere.

    ``seed`` is a sequence of non-negative integers (numpy's SeedSequence entropy). Distinct inputs
    get distinct arrays: exporters merge inputs that are one object.
    """
    rng = np.random.default_rng(list(seed))
    return {spec.name: _fill(spec, spec.at(sizes), rng) for spec in specs}


def _fill(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    values, dtype = spec.values, np.dtype(spec.dtype)
    if values.constant is not None:
        return np.full(shape, values.constant, dtype)
    whole = dtype.kind in "iub"
    if values.low is not None and values.high is not None:
        if whole:
            return np.asarray(rng.integers(int(values.low), int(values.high), shape)).astype(dtype)
        return np.asarray(rng.uniform(values.low, values.high, shape)).astype(dtype)
    if whole:
        return np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    mean = 0.0 if values.mean is None else values.mean
    std = 1.0 if values.std is None else values.std
    return np.asarray(rng.normal(mean, std, shape)).astype(dtype)


def as_tensors(arrays: dict[str, Array]) -> list[torch.Tensor]:
    import torch

    return [torch.from_numpy(np.array(a)) for a in arrays.values()]
