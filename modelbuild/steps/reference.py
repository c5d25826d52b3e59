"""What PyTorch computes: one run per input, which every artifact is compared with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, ModelbuildError, Refusal, StepError, about, first_line
from modelbuild.base.tensors import ITEM_BYTES, Axis, Sizes, TensorSpec, reorders
from modelbuild.steps import failures, forms
from modelbuild.steps.base import ModelStep, Outcome
from modelbuild.steps.model import LiveModel, ModelSource
from modelbuild.steps.patterns import matching
from modelbuild.steps.repeating import agree, keeps, self_agreement, stateful
from modelbuild.steps.state import Snapshot

if TYPE_CHECKING:
    import torch

    from modelbuild.steps.samples import Array

INDEX = "cases.json"
# Random samples at a shape stop here: 12 runs of a ResNet-50 at batch 1, 2 of anything larger.
FLOPS_PER_SHAPE = 1e11
BYTES_PER_SHAPE = 2**28
_SUITS = "the recipe's dtypes and values have to suit forward(), and its shapes from min to max"
_NARROW = "narrow the axes' min and max, or the inputs' values, to what the model takes"


@dataclass(frozen=True)
class Case:
    """One input and what came out, in ``<file>`` as ``in.<input>`` and ``out.<index>``."""

    file: str
    sizes: Sizes
    row: int | None  # of the sampling's rows; None for the recipe's own data


@dataclass(frozen=True)
class Sampling:
    """Which inputs to run: random ones at these sizes, and the recipe's own.

    Axes of the rows that are none of ``axes`` are pinned: of the recipe's own, those count that fit.
    """

    inputs: tuple[TensorSpec, ...]
    axes: tuple[Axis, ...]
    rows: tuple[Mapping[str, int], ...]
    samples: int
    seed: int
    data: tuple[str, ...] = ()

    def declared(self, base: Path) -> tuple[Path, ...]:
        """The recipe's own inputs.

        Raises:
            StepError: a pattern matches nothing.
        """
        return matching(base, self.data, "verify.data", "inputs-mismatch")

    @property
    def pinned(self) -> dict[str, int]:
        free = {a.name for a in self.axes}
        return {axis: size for axis, size in self.rows[0].items() if axis not in free}

    def count(self, row: Sizes, flops: float, out_bytes: int) -> int:
        """How many random inputs at this row: as asked, or what the work allows, but at least two.

        ``flops`` and ``out_bytes`` are one run's at the first row; both are taken to grow with
        the product of the axes, so that the number depends on the recipe alone.
        """
        growth = math.prod(row[a] / self.rows[0][a] for a in row)
        in_bytes = sum(math.prod(s.at(row)) * ITEM_BYTES[s.dtype] for s in self.inputs)
        allowed = min(
            FLOPS_PER_SHAPE / max(flops * growth, 1.0),
            BYTES_PER_SHAPE / max(out_bytes * growth + in_bytes, 1.0),
        )
        return max(min(self.samples, int(allowed)), min(self.samples, 2))


@dataclass(frozen=True, kw_only=True)
class Reference(ModelStep):
    """Run PyTorch in fp32 on every input; refuse a model that does not agree with itself."""

    source: ModelSource
    sampling: Sampling

    kind: ClassVar[str] = "reference"
    version: ClassVar[int] = 6
    packages: ClassVar[tuple[str, ...]] = ("torch", "safetensors", "numpy")

    def declared(self, base: Path) -> tuple[Path, ...]:
        return (*self.source.declared(base), *self.sampling.declared(base))

    def run_beside(self, model: LiveModel, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write one ``.npz`` per input and an index of them.

        Raises:
            Refusal: PyTorch itself fails at one of the sizes, and not at all of them.
            StepError: at all of them.
            ProofError: ``nondeterministic-reference``, ``stateful-reference``.
        """
        import torch

        from modelbuild.machine import cores
        from modelbuild.steps import samples

        torch.set_num_threads(cores.share())
        names = [s.name for s in self.sampling.inputs]

        def call(arrays: Mapping[str, Array]) -> list[Array]:
            outs = model.call(names, samples.as_tensors(dict(arrays)))
            return [_numpy(t) for t in outs]

        first = samples.random_inputs(self.sampling.inputs, self.sampling.rows[0], (0, 2))
        row = self.sampling.rows[0]
        model.finish(names, samples.as_tensors(dict(first)))
        fresh = Snapshot.of(model.module)
        try:
            settled, flops = self_agreement(model.module, lambda: call(first), row)
        except ModelbuildError:
            raise
        except (Exception, SystemExit) as error:
            hint = forms.hint_of_half(model.module, error) or _SUITS
            failed = _fails(describe(row), error, model.base, hint)
            raise _refusal(self.sampling, call, failed, error) from error
        said, counts = record(self.sampling, lambda a: _kept_apart(call, a, fresh), model.base, out, flops)
        if not agree(settled, _called(call, first, row, model.base)):
            raise stateful("the first input gives another output after the others have run", fresh.changed())
        return Outcome(said, {"counts": counts})


def record(
    sampling: Sampling,
    call: Callable[[Mapping[str, Array]], list[Array]],
    base: Path,
    out: Path,
    flops: float,
) -> tuple[tuple[Diagnostic, ...], list[dict[str, Any]]]:
    """Run ``call`` on every input of ``sampling`` and write the cases.

    Returns what to say, and how many random inputs there were at which sizes.

    Raises:
        Refusal: it fails on one of them, and not at all sizes.
        StepError: it fails at all sizes, or the recipe's own inputs are none.
    """
    try:
        return _recorded(sampling, call, base, out, flops)
    except _Failed as failed:
        raise _refusal(sampling, call, failed, failed.__cause__) from failed.__cause__


class _Failed(StepError):
    """The model itself fails."""


class _Stateful(_Failed):
    """It does after a call at other sizes, and a fresh one does not."""


def _refusal(
    sampling: Sampling,
    call: Callable[[Mapping[str, Array]], list[Array]],
    failed: _Failed,
    cause: BaseException | None,
) -> StepError:
    """``failed``; with the rows at which it is so, if there is one at which it is not."""
    from modelbuild.steps import samples

    def fails(row: Sizes) -> bool:
        try:
            call(samples.random_inputs(sampling.inputs, row, (0, 3)))
        except _Stateful:
            return False
        except (Exception, SystemExit) as error:
            passing.met(error)
            return True
        return False

    rows = [dict(row) for row in sampling.rows if fails(row)]
    if len(rows) == len(sampling.rows):
        return failed
    lasting = not (isinstance(cause, OSError) or passing.is_passing(cause))
    return Refusal(failed.diagnostics, {**failed.data, "fails": rows, "lasting": lasting})


def _recorded(
    sampling: Sampling,
    call: Callable[[Mapping[str, Array]], list[Array]],
    base: Path,
    out: Path,
    flops: float,
) -> tuple[tuple[Diagnostic, ...], list[dict[str, Any]]]:
    import numpy as np

    from modelbuild.steps import data, samples

    cases: list[Case] = []
    diagnostics: list[Diagnostic] = []
    counts: list[dict[str, Any]] = []
    out_bytes = 0

    def keep(arrays: Mapping[str, Array], outs: Sequence[Array], sizes: Sizes, row: int | None) -> None:
        file = f"case-{len(cases):04d}.npz"
        columns = {f"in.{n}": a for n, a in arrays.items()}
        columns |= {f"out.{i}": a for i, a in enumerate(outs)}
        np.savez(out / file, **columns)  # type: ignore[arg-type]
        cases.append(Case(file, dict(sizes), row))

    for number, row in enumerate(sampling.rows):
        sizes, moved = _acceptable(sampling, row, call, optional=number > 0)
        if moved is not None:
            diagnostics.append(moved)
        if sizes is None:
            continue
        count = sampling.count(sizes, flops, out_bytes) if number else sampling.samples
        sample = 0
        while sample < count:
            arrays = samples.random_inputs(sampling.inputs, sizes, (sampling.seed, number, sample))
            outs = _called(call, arrays, sizes, base)
            keep(arrays, outs, sizes, number)
            sample += 1
            if not number and sample == 1:
                out_bytes = sum(a.nbytes for a in outs)
                count = sampling.count(sizes, flops, out_bytes)
        counts.append({"sizes": dict(sizes), "samples": count})
    own = data.OwnInputs(sampling.inputs, sampling.axes)
    for path in sampling.declared(base):
        with about("verify", "data"):
            arrays, sizes = own.read(path)
        if any(sizes[axis] != size for axis, size in sampling.pinned.items()):
            continue
        keep(arrays, _called(call, arrays, sizes, base, f" of {path.name}"), sizes, None)
    diagnostics += own.said()
    if any(c["samples"] < sampling.samples for c in counts):
        told = ", ".join(f"{c['samples']} at {describe(c['sizes'])}" for c in counts)
        diagnostics.append(
            Diagnostic(
                "samples-reduced",
                f"fewer than {sampling.samples} random inputs at the larger shapes: {told}",
                "set `verify.samples` lower, or give real inputs with `verify.data`",
                level="info",
            )
        )
    index = [{"file": c.file, "sizes": c.sizes, "row": c.row} for c in cases]
    (out / INDEX).write_text(json.dumps(index))
    return tuple(diagnostics), counts


def load(folder: Path, sizes: Sizes | None = None) -> Iterator[tuple[Case, dict[str, Array], list[Array]]]:
    """The recorded cases whose axes have these sizes, one in memory at a time."""
    for row in json.loads((folder / INDEX).read_text()):
        case = Case(**row)
        if any(case.sizes.get(a, n) != n for a, n in (sizes or {}).items()):
            continue
        yield case, *load_case(folder, case.file)


def beyond(folder: Path, rows: int | None) -> Iterator[Case]:
    """The inputs at sizes that are not among the first ``rows`` of the sampling: those of variants alone."""
    for row in json.loads((folder / INDEX).read_text()) if rows is not None else ():
        if row["row"] is not None and row["row"] >= rows:
            yield Case(**row)


def load_case(folder: Path, name: str) -> tuple[dict[str, Array], list[Array]]:
    """One recorded case by its file's name: the inputs, and PyTorch's outputs."""
    import numpy as np

    with np.load(folder / name) as file:
        arrays = {n[3:]: file[n] for n in file.files if n.startswith("in.")}
        count = sum(n.startswith("out.") for n in file.files)
        return arrays, [file[f"out.{i}"] for i in range(count)]


def smallest(folder: Path) -> str:
    """The recorded input that takes the least work, by the file that it is in."""
    rows = json.loads((folder / INDEX).read_text())
    return str(min(rows, key=lambda r: math.prod(r["sizes"].values()))["file"])


def describe(sizes: Sizes) -> str:
    """``batch=2, sequence=17``."""
    return ", ".join(f"{n}={v}" for n, v in sizes.items()) or "the fixed shape"


def _acceptable(
    sampling: Sampling, row: Sizes, call: Callable[[Mapping[str, Array]], list[Array]], *, optional: bool
) -> tuple[dict[str, int] | None, Diagnostic | None]:
    """The row, or its nearest multiple of the axes' unit if the model takes only those.

    A model that downsamples refuses odd sizes; that is not the graph's fault. Its recipe shows it:
    min, opt and max share the factor.
    """
    from modelbuild.steps import samples

    units = {a.name: a.unit for a in sampling.axes}
    limits = {a.name: a.max for a in sampling.axes}
    odd = optional and any(n % units.get(a, 1) for a, n in row.items())
    strange = reorders(sampling.axes, row, (*sampling.rows[:2], limits))
    if not odd and not strange:
        return dict(row), None

    def refused(sizes: Sizes) -> BaseException | None:
        try:
            call(samples.random_inputs(sampling.inputs, sizes, (0, 3)))
        except ModelbuildError:
            raise
        except (Exception, SystemExit) as error:
            passing.met(error)
            return error
        return None

    error = refused(row)
    if error is not None:
        rounded = {
            a: min(-(-n // units[a]) * units[a], limits[a]) if a in units else n for a, n in row.items()
        }
        if strange and (not odd or refused(rounded)):
            told = Diagnostic(
                "samples-reduced",
                f"PyTorch refuses {describe(row)} ({first_line(error, 120)}); not compared there",
                "callers must keep these axes in the order that the model takes",
                level="info",
            )
            return None, told
        told = Diagnostic(
            "samples-reduced",
            f"PyTorch refuses {describe(row)} ({first_line(error, 120)}); compared at "
            f"{describe(rounded)} instead",
            "the model takes only multiples; callers must pad",
            level="info",
        )
        return (None if rounded in sampling.rows else rounded), told
    return dict(row), None


def _kept_apart(
    call: Callable[[Mapping[str, Array]], list[Array]], arrays: Mapping[str, Array], fresh: Snapshot
) -> list[Array]:
    """Call it; where that fails, and does not on the model as it was before any call, say so."""
    try:
        return call(arrays)
    except ModelbuildError:
        raise
    except Exception as error:
        kept = fresh.changed()
        if not kept:
            raise
        fresh.restore()
        try:
            call(arrays)
        except (Exception, SystemExit):
            raise error from None
        said = f"PyTorch fails after a call at other sizes, and not on a fresh model: {first_line(error)}"
        raise _Stateful(keeps(said, kept)) from error


def _called(
    call: Callable[[Mapping[str, Array]], list[Array]],
    arrays: Mapping[str, Array],
    sizes: Sizes,
    base: Path,
    source: str = "",
) -> list[Array]:
    try:
        return call(arrays)
    except ModelbuildError:
        raise
    except (Exception, SystemExit) as error:
        raise _fails(describe(sizes) + source, error, base, _NARROW) from error


def _fails(at: str, error: BaseException, base: Path, hint: str) -> _Failed:
    said = f"the model itself fails at {at}"
    if "Guard failed: " in str(error):
        hint = failures.OTHER_SIZES
        told, data = failures.of_forward("reference-failed", said, error, hint, base)
        return _Failed(told, {**data, "fault": failures.OF_PROGRAM})
    return _Failed(*failures.of_forward("reference-failed", said, error, hint, base))


def _numpy(tensor: torch.Tensor) -> Array:
    import torch

    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return tensor.detach().numpy()
