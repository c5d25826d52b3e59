"""Input values: random ones from a recipe's ``values``, real ones from its ``data``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from modelbuild.errors import Diagnostic, StepError, first_line
from modelbuild.tensors import Sizes, TensorSpec

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


def read_data(path: Path, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """One file's arrays by input name, checked against the recipe.

    Raises:
        StepError: not an .npz, an input missing, another dtype or shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:
        raise _bad_data(f"{path.name} cannot be read: {first_line(error)}") from error
    sizes: dict[str, int] = {}
    for spec in specs:
        if spec.name not in arrays:
            raise _bad_data(f"{path.name} has no array `{spec.name}`; it has {sorted(arrays)}")
        array = arrays[spec.name]
        if array.dtype != np.dtype(spec.dtype):
            raise _bad_data(f"{path.name}: `{spec.name}` is {array.dtype}, the recipe says {spec.dtype}")
        fits = len(array.shape) == len(spec.shape) and all(
            sizes.setdefault(d, n) == n if isinstance(d, str) else d == n
            for d, n in zip(spec.shape, array.shape, strict=True)
        )
        if not fits:
            raise _bad_data(
                f"{path.name}: `{spec.name}` has shape {array.shape}, the recipe says {list(spec.shape)}"
            )
    return {spec.name: arrays[spec.name] for spec in specs}


def sizes_of(specs: Sequence[TensorSpec], arrays: dict[str, Array]) -> dict[str, int]:
    """The dynamic axes' sizes in these arrays."""
    return {
        d: n
        for spec in specs
        for d, n in zip(spec.shape, arrays[spec.name].shape, strict=True)
        if isinstance(d, str)
    }


def as_tensors(arrays: dict[str, Array]) -> list[torch.Tensor]:
    import torch

    return [torch.from_numpy(np.array(a)) for a in arrays.values()]


def _bad_data(message: str) -> StepError:
    hint = "`verify.data` takes .npz files with one array per input, of its dtype and shape"
    return StepError(Diagnostic("inputs-mismatch", message, hint))
