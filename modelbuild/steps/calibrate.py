"""The ranges of the activations of the fp32 graph, over calibration data: what int8 gets its scales from.

This is an action by itself: another tolerance, or another list of nodes that stay out of int8, calibrates
nothing again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, ModelbuildError, StepError, about, first_line
from modelbuild.steps.base import Outcome, Step
from modelbuild.steps.patterns import matching
from modelbuild.steps.reference import Sampling, describe
from modelbuild.wording.phrases import few

if TYPE_CHECKING:
    from modelbuild.graph.calibration import Threshold
    from modelbuild.graph.clipping import Method
    from modelbuild.graph.files import Model
    from modelbuild.steps.samples import Array

_FLOAT = 1  # TensorProto.FLOAT, without importing it
KEY = "precision.int8.calibration.data"
PROOFS = "verify.data"
INDEX = "ranges.json"
_RANDOM = 16  # random inputs at a size: more of them say no more of real ones
_SALT = 1  # random inputs are none of the proof's, which are drawn by three numbers
_NAMED = 3  # tensors that a message names
_NOT_FINITE = (
    "what they reach has no finite range either, and nodes that read it stay out of int8: mend the file, "
    "unless the model is meant to take them"
)
_UNPROVEN = "calibrated on random inputs, which say nothing of the ranges of real ones"


@dataclass(frozen=True, kw_only=True)
class Calibrate(Step):
    """Run the fp32 graph on the recipe's own calibration data, or on random inputs where it has none.

    ``sampling.data`` are patterns of those, and ``sampling.samples`` how many files count, in their order.
    ``apart`` are the patterns of the proof's data, which must hold none of the samples.
    """

    sampling: Sampling
    method: Method
    op_types: tuple[str, ...]
    apart: tuple[str, ...] = ()

    kind: ClassVar[str] = "calibrate"
    version: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy")

    def declared(self, base: Path) -> tuple[Path, ...]:
        return (*self._own(base), *self._proofs(base))

    def run_at(self, base: Path, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``ranges.json``: of each tensor that int8 could need, its extremes and its threshold.

        Raises:
            StepError: ``inputs-mismatch``: the data are none for these inputs, or the proof's;
                ``opset-mismatch``.
        """
        import numpy as np

        from modelbuild.graph import calibration, files, interface
        from modelbuild.graph.quantization.points import Int8Options, activations

        (path,) = given["model"].glob("*.onnx")
        model = _as_converted(files.read(path))
        # Of either base: fp16 has no scale for some weights, and fp32 has.
        tensors = activations(model, Int8Options(op_types=self.op_types, base="fp32"))
        dtypes = {p.name: files.numpy_dtype(p.dtype) for p in interface.inputs(model)}
        samples = self._own_samples(base) or self._random_samples()
        now = ""

        def feeds() -> Iterator[dict[str, Array]]:
            nonlocal now
            for name, arrays in samples.each():
                now = name
                yield {n: np.asarray(arrays[n], dtype) for n, dtype in dtypes.items()}

        try:
            found = calibration.thresholds(model, tensors, feeds, self.method)
        except ModelbuildError:
            raise
        except Exception as error:
            if samples.source == "random" or passing.is_passing(error):
                raise
            raise _does_not_run(now, error) from error
        (out / INDEX).write_text(json.dumps(_rows(found), sort_keys=True, indent=1, allow_nan=False))
        data = {"source": samples.source, "samples": samples.count, "tensors": len(found)}
        return Outcome((*samples.said, *_not_finite(found)), data)

    # ---- samples -------------------------------------------------------------------------------

    def _own(self, base: Path) -> tuple[Path, ...]:
        return matching(base, self.sampling.data, KEY, "inputs-mismatch")

    def _proofs(self, base: Path) -> tuple[Path, ...]:
        try:
            return matching(base, self.apart, PROOFS, "inputs-mismatch")
        except StepError:  # told by the run of PyTorch, which is given them
            return ()

    def _own_samples(self, base: Path) -> _Samples | None:
        """The first files that have the pinned sizes; None where there is none."""
        from modelbuild.steps.data import OwnInputs
        from modelbuild.steps.sharing import FilesAt, same_file, same_sample

        sampling = self.sampling
        reading = OwnInputs(sampling.inputs, sampling.axes, KEY, _NOT_FINITE)
        chosen: list[Path] = []
        with about(*KEY.split(".")):
            every = self._own(base)
            for path in every:
                if len(chosen) == sampling.samples:
                    break
                _, sizes = reading.read(path)
                if all(sizes[axis] == size for axis, size in sampling.pinned.items()):
                    chosen.append(path)
            proofs = FilesAt(PROOFS, self._proofs(base))
            told = same_file(FilesAt(KEY, every), proofs)
            told = told or same_sample(FilesAt(KEY, chosen), proofs, sampling.inputs, sampling.axes)
            if told is not None:
                raise StepError(told)
        if not chosen:
            return None

        def each() -> Iterator[tuple[str, dict[str, Array]]]:
            for path in chosen:
                yield path.name, OwnInputs(sampling.inputs, sampling.axes, KEY).read(path)[0]

        return _Samples("data", len(chosen), each, reading.said())

    def _random_samples(self) -> _Samples:
        """Random inputs at the smallest sizes and at the traced ones, which the model is known to take."""
        from modelbuild.steps import samples

        sampling = self.sampling
        rows, count = sampling.rows[:2], min(sampling.samples, _RANDOM)
        said = _UNPROVEN
        if sampling.data:
            said = f"no file of `{KEY}` has {describe(sampling.pinned)}: {said}"
        hint = f"name files of real ones with `{KEY}`"

        def each() -> Iterator[tuple[str, dict[str, Array]]]:
            for number, row in enumerate(rows):
                for sample in range(count):
                    seed = (sampling.seed, number, sample, _SALT)
                    yield describe(row), samples.random_inputs(sampling.inputs, row, seed)

        told = Diagnostic("int8-unproven", said, hint, level="warning")
        return _Samples("random", len(rows) * count, each, (told,))


@dataclass(frozen=True)
class _Samples:
    """``each`` gives them anew, each after what it is called."""

    source: Literal["data", "random"]
    count: int
    each: Callable[[], Iterator[tuple[str, dict[str, Array]]]]
    said: tuple[Diagnostic, ...]


def load(folder: Path) -> dict[str, float]:
    """Tensor -> its threshold; NaN where the data have none."""
    rows = json.loads((folder / INDEX).read_text())
    return {name: math.nan if row["threshold"] is None else row["threshold"] for name, row in rows.items()}


def _rows(found: Mapping[str, Threshold]) -> dict[str, dict[str, float | None]]:
    """As JSON, which has no word for what is not finite."""
    return {
        name: {key: value if math.isfinite(value) else None for key, value in vars(row).items()}
        for name, row in found.items()
    }


def _as_converted(model: Model) -> Model:
    """The graph as the conversion takes it, so that its tensors have the same names."""
    from modelbuild.graph import interface, shapes, widening

    shapes.forget(model.proto.graph)
    interface.set_initializers_as_inputs(model, False)
    if widening.main_type(model.proto) in (None, _FLOAT):
        return model
    return widening.as_float32(model, widening.FLOATS - {_FLOAT})


def _not_finite(found: Mapping[str, Threshold]) -> tuple[Diagnostic, ...]:
    names = [f"`{name}`" for name, row in found.items() if not row.is_finite]
    if not names:
        return ()
    said = f"{few(names, _NAMED)} held NaN or infinity, or nothing at all, when the model was calibrated"
    hint = "nodes that read such a tensor stay out of int8"
    return (Diagnostic("not-finite", said, hint, level="warning"),)


def _does_not_run(file: str, error: Exception) -> StepError:
    said = f"the fp32 graph does not run on {file} of `{KEY}`: {first_line(error)}"
    hint = "the values in the file have to be such as the model takes: ids within its vocabulary, say"
    return StepError(Diagnostic("inputs-mismatch", said, hint), {"about": tuple(KEY.split("."))})
