"""A recipe's own inputs (``verify.data``, calibration data): read, held against what it says of its inputs,
and told of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbuild.base.catalogue import Level
from modelbuild.base.errors import Diagnostic, StepError, first_line
from modelbuild.base.tensors import Axis, TensorSpec

Array = npt.NDArray[Any]

_WHOLE = "iub"


@dataclass(frozen=True)
class _NotNumbers:
    """How many of an input's values in a file are no numbers."""

    file: str
    nan: int
    infinite: int
    size: int


@dataclass
class OwnInputs:
    """Reads the files one by one, and keeps what there is to say of all of them.

    ``key`` is where the recipe names them, and ``not_finite`` what follows from values that are no numbers.
    """

    specs: Sequence[TensorSpec]
    axes: Sequence[Axis]
    key: str = "verify.data"
    not_finite: str = (
        "an output that is NaN in PyTorch and in the file counts as equal, so that nothing is proven of what "
        "these reach: mend the file, unless the model is meant to take them"
    )
    _converted: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _not_finite: dict[str, list[_NotNumbers]] = field(default_factory=dict)

    def read(self, path: Path) -> tuple[dict[str, Array], dict[str, int]]:
        """One file's arrays by input name, as the recipe has them, and the sizes of its axes.

        Raises:
            StepError: ``inputs-mismatch``: not such a file, an input missing, of another kind or shape.
        """
        held = self._load(path, [spec.name for spec in self.specs])
        arrays = {spec.name: self._typed(path.name, spec, held[spec.name]) for spec in self.specs}
        sizes = self._sizes(path.name, arrays)
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                nan = int(np.isnan(array).sum())
                row = _NotNumbers(path.name, nan, int(np.isinf(array).sum()), array.size)
                self._not_finite.setdefault(name, []).append(row)
        return arrays, sizes

    def said(self) -> tuple[Diagnostic, ...]:
        """What was converted, and what is no number, of all that was read: one word for each input."""
        found = []
        for (name, dtypes), files in self._converted.items():
            message = f"`{name}` is {dtypes} in {_listed(files)} of `{self.key}`: converted"
            found.append(Diagnostic("data-converted", message, level="info"))
        found += [self._told_not_finite(name, rows) for name, rows in self._not_finite.items()]
        return tuple(found)

    def _typed(self, file: str, spec: TensorSpec, array: Array) -> Array:
        """The array in the recipe's dtype: floats as floats, and whole numbers that fit."""
        want = np.dtype(spec.dtype)
        if array.dtype.newbyteorder("=") == want:
            return array.astype(want, copy=False)
        said = f"{file}: `{spec.name}` is {array.dtype.name}, the recipe says {spec.dtype}"
        if array.dtype.kind == "f" and want.kind == "f":
            with np.errstate(over="ignore"):
                made = array.astype(want)
            lost = np.isfinite(array) & ~np.isfinite(made)
        elif array.dtype.kind in _WHOLE and want.kind in _WHOLE:
            low, high = (0, 1) if want.kind == "b" else (np.iinfo(want).min, np.iinfo(want).max)
            lost = np.zeros(array.shape, bool) if array.dtype.kind == "b" else (array < low) | (array > high)
            made = array.astype(want)
        else:
            how = f"save `{spec.name}.astype('{spec.dtype}')`, scaled as the model takes it"
            raise self._bad(said, f"{how}, or say `dtype: {array.dtype.name}` in the recipe")
        if lost.any():
            value = array[lost].flat[0]
            raise self._bad(f"{said}, which cannot hold {value:.6g}", "mend the file, or the recipe's dtype")
        self._converted.setdefault((spec.name, f"{array.dtype.name}, not {spec.dtype},"), []).append(file)
        return made

    def _sizes(self, file: str, arrays: Mapping[str, Array]) -> dict[str, int]:
        limits = {axis.name: axis for axis in self.axes}
        sizes: dict[str, int] = {}
        first: dict[str, str] = {}  # axis -> the input that has it
        for spec in self.specs:
            shape = arrays[spec.name].shape
            said = f"{file}: `{spec.name}` has shape {list(shape)}"
            if len(shape) != len(spec.shape) or any(
                isinstance(d, int) and d != n for d, n in zip(spec.shape, shape, strict=True)
            ):
                told = f"{said}, the recipe says [{', '.join(map(str, spec.shape))}]"
                single = len(shape) + 1 == len(spec.shape) and isinstance(spec.shape[0], str)
                raise self._bad(
                    told, f"one sample without its {spec.shape[0]} axis? save `x[None]`" if single else None
                )
            for axis, size in zip(spec.shape, shape, strict=True):
                if not isinstance(axis, str):
                    continue
                if sizes.setdefault(axis, size) != size:
                    raise self._bad(f"{said}, where {axis} is {size}; in `{first[axis]}` it is {sizes[axis]}")
                first.setdefault(axis, spec.name)
                limit = limits.get(axis)
                if limit is not None and not limit.min <= size <= limit.max:
                    told = f"{said}: {axis}={size} is outside its range of {limit.min} to {limit.max}"
                    edge = "min" if size < limit.min else "max"
                    wider = f"`dynamic_axes: {{{axis}: {{{edge}: {size}}}}}`"
                    raise self._bad(
                        told, f"widen the axis ({wider}), or leave the file out" if size else "leave it out"
                    )
        return sizes

    def _told_not_finite(self, name: str, rows: Sequence[_NotNumbers]) -> Diagnostic:
        first, more = rows[0], len(rows) - 1
        counts = " and ".join(
            f"{n} {what}" for n, what in ((first.nan, "NaN"), (first.infinite, "infinite")) if n
        )
        message = f"`{name}` in {first.file} of `{self.key}` has {counts} among its {first.size} values"
        if more:
            message += f"; so do {more} more files" if more > 1 else "; so does 1 more file"
        level: Level = "warning" if any(row.nan for row in rows) else "info"
        return Diagnostic("data-not-finite", message, self.not_finite, level=level)

    def _load(self, path: Path, names: Sequence[str]) -> dict[str, Array]:
        """The arrays of these names; an .npy file's own where there is one name.

        Raises:
            StepError: ``inputs-mismatch``.
        """
        try:
            read = np.load(path, allow_pickle=False)
            if isinstance(read, np.ndarray):
                return {self._only(path.name, names): read}
            with read:
                missing = next((name for name in names if name not in read.files), None)
                if missing is None:
                    return {name: np.asarray(read[name]) for name in names}
                has = ", ".join(f"`{name}`" for name in read.files) or "nothing"
        except StepError:
            raise
        except Exception as error:
            reason = first_line(error)
            if "pickle" in reason:  # what numpy says of any file that is none of its own, too
                reason = "it is no .npz or .npy file, or holds Python objects instead of numbers"
            raise self._bad(f"{path.name} cannot be read: {reason}") from error
        raise self._bad(f"{path.name} has no array `{missing}`; it has {has}")

    def _only(self, file: str, names: Sequence[str]) -> str:
        if len(names) > 1:
            listed = ", ".join(f"`{name}`" for name in names)
            raise self._bad(f"{file} holds one array, and the recipe has {len(names)} inputs: {listed}")
        return names[0]

    def _bad(self, message: str, hint: str | None = None) -> StepError:
        usual = (
            f"`{self.key}` takes .npz files with one array per input, under its name and of its dtype and "
            'shape (`np.savez("one.npz", x=x)`), and .npy files where there is one input'
        )
        return StepError(Diagnostic("inputs-mismatch", message, hint or usual))


def _listed(files: Sequence[str]) -> str:
    more = len(files) - 1
    return f"{files[0]} and {more} more file{'s' if more > 1 else ''}" if more else files[0]
