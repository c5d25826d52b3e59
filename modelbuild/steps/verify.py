"""The proof: an ONNX file against PyTorch, before anybody can see it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, ProofError, StepError
from modelbuild.base.tensors import Sizes, TensorSpec, Values
from modelbuild.base.tolerance import Tolerance
from modelbuild.engines.profiles import AxisRanges
from modelbuild.engines.running import run_engine
from modelbuild.machine import toolchain
from modelbuild.machine.isolate import in_child
from modelbuild.steps import failures
from modelbuild.steps.base import Outcome, Step
from modelbuild.steps.record import Record

if TYPE_CHECKING:
    from modelbuild.graph.alarms import Alarms
    from modelbuild.graph.files import Model
    from modelbuild.steps.conditioning import Own
    from modelbuild.steps.losses import Losses
    from modelbuild.steps.model import ModelSource
    from modelbuild.steps.proof import Proof
    from modelbuild.steps.reference import Case
    from modelbuild.steps.samples import Array


_ASKED = 3  # inputs of a failed proof on which PyTorch is held against itself
# What a proof says where values are wrong, and not sizes or types.
_WRONG_VALUES = frozenset({"parity-failed", "not-finite"})


@dataclass(frozen=True, kw_only=True)
class Verify(Step):
    """Compare one ONNX file with the recorded reference at every size that fits it."""

    filename: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    sizes: Mapping[str, int]  # the axes that are pinned in this file
    rows: int | None  # compare at the first of the sampled sizes; None: at all that fit
    tolerance: Tolerance
    keep_io_types: bool = True
    function: str | None = None
    source: str = "PyTorch"  # what the reference is, in messages
    model: ModelSource | None = None  # asked for its own error where the proof fails

    kind: ClassVar[str] = "verify"
    version: ClassVar[int] = 8
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "ml_dtypes", "numpy")
    of_pytorch: ClassVar[tuple[str, ...]] = ("torch", "safetensors")

    @property
    def asks_code(self) -> bool:
        """Whether a verdict that holds may come from the recipe's code."""
        return self.function is not None or self._asks_pytorch

    @property
    def _asks_pytorch(self) -> bool:
        return self.model is not None and self.tolerance.is_conditioned

    def uses(self) -> tuple[str, ...]:
        return (*self.packages, *(self.of_pytorch if self._asks_pytorch else ()))

    def declared(self, base: Path) -> tuple[Path, ...]:
        return self.model.declared(base) if self.model is not None and self._asks_pytorch else ()

    @property
    def on_gpu(self) -> bool:
        return self.precision != "fp32"

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Check, load, run, compare. Writes nothing; what it measured is its data.

        Raises:
            StepError: the file is not valid, does not load, or has another interface.
            ProofError: it does not compute what PyTorch computes; in half precision with the range
                of every tensor.
        """
        return self.run_at(Path(), given, out)

    def run_at(self, base: Path, given: Mapping[str, Path], out: Path) -> Outcome:
        """As ``run``; ``base`` is the recipe's folder, where the model is made anew if it is asked."""
        try:
            return self.prove(given, base, kept=True)
        except ProofError as error:
            raise self.explained(error, given) from None

    def prove(self, given: Mapping[str, Path], base: Path | None = None, kept: bool = False) -> Outcome:
        """The verdict alone. With ``kept``, what was measured of a file that fails is in the error, too.

        Raises:
            StepError, ProofError: as ``run``.
        """
        from modelbuild.graph import extents, files, interface
        from modelbuild.graph.counting import decided_by_floats, decided_by_values
        from modelbuild.steps.proof import Proof

        path = given["model"] / self.filename
        check_file(path)
        model = files.read(path)
        self._check_interface(model)
        other = self._check_precision(model)
        running = self._running(path, model)
        sized = (lambda: ()) if self.precision == "fp32" else lambda: extents.sized_by_values(model.proto)
        names = [p.name for p in interface.outputs(model)]
        self._check_bounds(names)
        proof = Proof(self, names, sized, decided_by_floats(model), decided_by_values(model))
        own_data = False
        for case, arrays, expected in self._cases(given["reference"]):
            proof.add(case, expected, running.run, arrays)
            own_data = own_data or case.row is None
        narrow = () if own_data else self._narrow()
        self._doubt(proof, given["reference"], base)
        try:
            outcome = self._verdict(proof, running.evidence, (*other, *running.said, *narrow))
        except ProofError as error:
            data = dict(error.data)
            if (record := data.pop("record", None)) and kept:
                data["record"] = _with(self._unnoticed(running, given["reference"]), record)
            raise ProofError(error.diagnostics, data) from None
        lost = self._unnoticed(running, given["reference"])
        if lost is None:
            return outcome
        told: dict[str, Any] = {"ranges": lost.rows}
        if record := outcome.data.get("record"):
            told["record"] = _with(lost, record)
        return Outcome((*outcome.diagnostics, *lost.diagnostics), {**outcome.data, **told})

    def _doubt(self, proof: Proof, reference: Path, base: Path | None) -> None:
        """Where the proof fails, ask how far PyTorch is from itself on the inputs that it fails on."""
        from modelbuild.steps.reference import load_case

        files = proof.failing_files()
        if self.model is None or base is None or not files:
            return
        model, named = self.model, self.tolerance.is_conditioned

        def ask() -> list[Own | None]:
            from modelbuild.steps import conditioning

            names = [s.name for s in self.inputs]
            bounds = [(proof.bounds[n], n in proof.counted) for n in proof.names]
            cases = (load_case(reference, file) for file in asked)
            return conditioning.measured(model, base, names, cases, bounds)

        asked = files if named else files[:_ASKED]
        try:
            owns = ask() if named else in_child(ask).like_a_call()
        except Exception as error:
            passing.met(error)
            traceback.print_exc()  # what failed has failed without it
            return
        proof.doubt({file: own for file, own in zip(asked, owns, strict=True) if own is not None})

    def _unnoticed(self, running: _Running, reference: Path) -> Losses | None:
        """What leaves the range of a file that is proven: where an alarm rang, or where there is none."""
        from modelbuild.steps import losses
        from modelbuild.steps.reference import load_case, smallest

        if self.precision == "fp32":
            return None
        inputs = {id(arrays): arrays for arrays in running.rung.values()}
        feeds = [running.feed(arrays) for arrays in inputs.values()]
        if running.blind:
            feeds.append(running.feed(load_case(reference, smallest(reference))[0]))
        if not feeds:
            return None
        try:
            only = None if running.blind else running.rung.keys()
            return losses.unnoticed(running.model, self.precision, lambda: feeds, only)
        except Exception as error:
            passing.met(error)
            traceback.print_exc()  # the proof holds without it
            return None

    def explained(self, error: ProofError, given: Mapping[str, Path]) -> ProofError:
        """The error of ``prove`` with what half precision loses, and the ranges that show it."""
        import numpy as np

        from modelbuild.graph import files, interface
        from modelbuild.graph.edges import with_numpy_edges
        from modelbuild.steps.losses import losses

        codes = {d.code for d in error.diagnostics}
        ran = {row["file"] for row in error.data.get("cases", ())}
        if self.precision == "fp32" or not ran or codes.isdisjoint(_WRONG_VALUES):
            return error
        model = with_numpy_edges(files.read(given["model"] / self.filename))
        dtypes = {p.name: files.numpy_dtype(p.dtype) for p in interface.inputs(model)}

        def feeds() -> Iterator[dict[str, Array]]:
            for case, arrays, _ in self._cases(given["reference"]):
                if case.file in ran:
                    yield {name: np.asarray(arrays[name], dtype) for name, dtype in dtypes.items()}

        try:
            found = losses(model, self.precision, feeds, broke="not-finite" in codes)
        except Exception as reason:
            passing.met(reason)
            traceback.print_exc()  # the verdict holds without its reasons
            return error
        return ProofError((*found.diagnostics, *error.diagnostics), {**error.data, "ranges": found.rows})

    def _cases(self, folder: Path) -> Iterator[tuple[Case, dict[str, Array], list[Array]]]:
        from modelbuild.steps import reference

        for case, arrays, expected in reference.load(folder, self.sizes):
            if case.row is None or self.rows is None or case.row < self.rows:
                yield case, arrays, expected

    def _verdict(self, proof: Proof, evidence: str, diagnostics: tuple[Diagnostic, ...]) -> Outcome:
        vary = any(s.values.varies for s in self.inputs if s.shape)
        record = proof.record(evidence, vary, self.source, diagnostics)
        parity = proof.parity(record)
        empty = record.vacuous(self.tolerance, self.precision)
        found = (*diagnostics, *proof.errors(), *proof.allowances(), *empty)
        kept = record.as_json() if proof.is_plain else None
        data: dict[str, Any] = {"parity": parity} if kept is None else {"parity": parity, "record": kept}
        if any(d.level == "error" for d in found):
            data["parity"] = {**parity, "passed": False}
            raise ProofError(found, {**data, "cases": [asdict(m) for m in proof.measured]})
        return Outcome(found, data)

    def measured(self) -> dict[str, Any]:
        return {name: value for name, value in self.knobs().items() if name != "tolerance"}

    def judged(self, record: Mapping[str, Any]) -> Outcome | None:
        return Record.from_json(record).judged(self.tolerance, self.precision)

    def _running(self, path: Path, model: Model) -> _Running:
        """How to run the file, what running it proves, and what to say about loading it."""
        from modelbuild.graph import runtime, simulate
        from modelbuild.graph.alarms import Alarms
        from modelbuild.graph.edges import with_numpy_edges

        if self.precision == "fp32":
            try:
                return _Running(model, runtime.session_of_file(path), "cpu")
            except Exception as error:
                in_bfloat16 = runtime.lacks_kernels(error) and _has_bfloat16(model)
                raise failures.of_runtime(path.name, error, in_bfloat16) from error
        loading = in_child(lambda: runtime.session_of_file(path) and None)
        words: tuple[Diagnostic, ...] = ()
        if loading.error is not None and not self._lacks_kernels(loading.error):
            raise failures.of_runtime(path.name, loading.error)
        if loading.died:
            again = in_child(lambda: runtime.session_of_file(path, extended=True) and None)
            if not again.ok:
                raise StepError(_crashed(f"{loading.died} while loading {path.name}", "error"))
            words = (
                _crashed(
                    f"ONNX Runtime was {loading.died} while loading {path.name} at its highest "
                    "optimisation level on a CPU; at ORT_ENABLE_EXTENDED it loads",
                    "warning",
                ),
            )
        judged = with_numpy_edges(model)
        if runtime.has_cuda() and toolchain.gpu() is not None:
            try:
                if judged is model:
                    session = runtime.session_of_file(path, cuda=True)
                else:
                    session = runtime.session(judged, providers=runtime.CUDA)
                return _Running(judged, session, "gpu", words)
            except Exception as error:
                if not self._lacks_kernels(error):
                    raise
                passing.met(error)
        alarms = Alarms.of(simulate.simulation(judged))
        session = runtime.session(alarms.model, prepack=True, in_order=True)
        return _Running(judged, session, f"{self.precision}-simulated", words, alarms)

    def _lacks_kernels(self, error: BaseException) -> bool:
        """Whether this is only that ONNX Runtime has hardly a bfloat16 kernel, and none on a CPU.

        The file has passed the full checker by then, and the simulation judges what it computes.
        """
        from modelbuild.graph import runtime

        return self.precision == "bf16" and runtime.lacks_kernels(error)

    def _narrow(self) -> tuple[Diagnostic, ...]:
        """A word on whole numbers that nobody gave a range: what is right at 1 may be lost at 1000.

        Once per precision, of the dynamic file.
        """
        names = [
            s.name for s in self.inputs if s.dtype.lstrip("u").startswith("int") and s.values == Values()
        ]
        if self.precision == "fp32" or self.sizes or not names:
            return ()
        which = ", ".join(f"`{name}`" for name in names)
        return (
            Diagnostic(
                "vacuous-check",
                f"no `values` say what {which} may be, so 0 and 1 alone were tried: {self.precision} is not "
                "proven at larger numbers",
                "give the range, `values: {low: 0, high: ...}` (a mask's is `{low: 0, high: 2}`), or "
                "`verify.data`",
                level="warning",
            ),
        )

    def _check_precision(self, model: Model) -> tuple[Diagnostic, ...]:
        """Whether the file is what its name says: not one tensor in half, and it is the fp32 one."""
        from modelbuild.graph import widening
        from modelbuild.graph.types import ELEM_TYPES, type_name

        own = widening.main_type(model.proto)
        if self.precision == "fp32" and own not in (None, ELEM_TYPES["fp32"]):
            message = f"the file is one of {type_name(own)}, as the model is"
            return (Diagnostic("precision-fallback", message, level="info"),)
        if self.precision != "fp32" and ELEM_TYPES[self.precision] not in widening.held(model.proto):
            diagnostic = Diagnostic(
                "fp16-infeasible",
                f"the graph holds not one {self.precision} tensor: there is nothing in it to round, or all "
                "of it was kept, so the file would be the fp32 one under another name",
                "leave this precision out; or block fewer nodes, if the recipe blocks any",
            )
            raise ProofError((diagnostic,), {})
        return ()

    def _check_bounds(self, names: Sequence[str]) -> None:
        for name in self.tolerance.outputs:
            if name not in names:
                raise StepError(
                    Diagnostic(
                        "outputs-mismatch",
                        f"the tolerance names an output `{name}`; the graph's are {list(names)}",
                        "name an output of the graph under `tolerance: {outputs: ...}`",
                    )
                )

    def _check_interface(self, model: Model) -> None:
        from modelbuild.graph import files, interface
        from modelbuild.graph.types import ELEM_TYPES

        own = ELEM_TYPES[self.precision]
        wanted = {
            s.name: interface.elem_type(s.dtype) if self.keep_io_types or s.dtype != "float32" else own
            for s in self.inputs
        }
        have = {p.name: p.dtype for p in interface.inputs(model)}
        if list(have) != list(wanted):
            raise failures.invalid(f"the graph's inputs are {list(have)}, the recipe's {list(wanted)}")
        for name, dtype in wanted.items():
            if have[name] != dtype:
                got, want = (files.numpy_dtype(d) for d in (have[name], dtype))
                raise StepError(
                    Diagnostic(
                        "inputs-mismatch", f"input `{name}` is {got} in the graph, not {want}",
                        "give the recipe's input the dtype that forward() takes",
                    )
                )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VerifyEngine(Verify):
    """Compare an engine with the recorded reference, on the GPU of this machine."""

    backend: str = "tensorrt-rtx"
    onnx: str = ""  # the file that the engine was built from: its outputs' order and dtypes
    profiles: tuple[AxisRanges, ...] = ()

    kind: ClassVar[str] = "verify engine"
    packages: ClassVar[tuple[str, ...]] = (*Verify.packages, "polygraphy")

    def uses(self) -> tuple[str, ...]:
        from modelbuild.steps.engine import ENGINES

        return tuple(dict.fromkeys((*super().uses(), *ENGINES[self.backend].packages)))

    def run_at(self, base: Path, given: Mapping[str, Path], out: Path) -> Outcome:
        """Run every recorded input that a profile admits, through Polygraphy's runner.

        Raises:
            StepError: the engine does not load or run.
            ProofError: it does not compute what PyTorch computes.
        """
        import numpy as np

        from modelbuild.graph import files, interface
        from modelbuild.graph.counting import decided_by_floats, decided_by_values
        from modelbuild.steps.proof import Proof

        model = files.read(given["onnx"] / self.onnx)
        names = [p.name for p in interface.outputs(model)]
        dtypes = {p.name: files.numpy_dtype(p.dtype) for p in interface.inputs(model)}
        cases = [row for row in self._cases(given["reference"]) if self._admits(row[0].sizes)]
        feeds = [{n: np.asarray(arrays[n], d) for n, d in dtypes.items()} for _, arrays, _ in cases]
        found = iter(run_engine(given["model"] / self.filename, self.backend, feeds, names))
        self._check_bounds(names)
        proof = Proof(self, names, counted=decided_by_floats(model), live=decided_by_values(model))
        for case, arrays, expected in cases:
            proof.add(case, expected, lambda _: [_full(o) for o in next(found)], arrays)
        self._doubt(proof, given["reference"], base)
        return self._verdict(proof, "gpu", ())

    def _admits(self, sizes: Sizes) -> bool:
        return not self.profiles or any(
            all(low <= sizes[axis] <= high for axis, (low, _, high) in profile) for profile in self.profiles
        )


def check_file(path: Path) -> None:
    """ONNX's full checker, by path.

    Raises:
        StepError: its words.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        said = " ".join(str(error).split())[:400]
        raise failures.invalid(f"{path.name} does not pass ONNX's checker: {said}") from error


class _Running:
    """A file in a session: from the recipe's arrays to float32 (or integer) outputs."""

    def __init__(
        self,
        model: Model,
        session: Any,
        evidence: str,
        diagnostics: tuple[Diagnostic, ...] = (),
        alarms: Alarms | None = None,
    ) -> None:
        from modelbuild.graph import files, interface

        self.model = model
        self.evidence = evidence
        self.said = diagnostics
        self.rung: dict[str, Mapping[str, Array]] = {}  # by tensor, the first input that it is infinite on
        self._session = session
        self._alarms = alarms
        self._dtypes = {p.name: files.numpy_dtype(p.dtype) for p in interface.inputs(model)}
        self._count = len(interface.outputs(model))

    @property
    def blind(self) -> bool:
        """Whether something infinite inside may ring no alarm."""
        return self._alarms is None or self._alarms.blind

    def feed(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays in the types of the file's inputs."""
        import numpy as np

        return {n: np.asarray(arrays[n], dtype) for n, dtype in self._dtypes.items()}

    def run(self, arrays: Mapping[str, Array]) -> list[Array]:
        outs = self._session.run(None, self.feed(arrays))
        for tensor in self._alarms.ringing(outs) if self._alarms is not None else ():
            self.rung.setdefault(tensor, arrays)
        return [_full(o) for o in outs[: self._count]]


def _with(lost: Losses | None, record: dict[str, Any]) -> dict[str, Any]:
    """A record with what half precision loses of a file whose values hold, which no tolerance decides."""
    if lost is None:
        return record
    return {**record, "lost": [d.as_json() for d in lost.diagnostics], "ranges": lost.rows}


def _full(array: Array) -> Array:
    return array.astype("float32") if array.dtype.name in ("float16", "bfloat16") else array


def _has_bfloat16(model: Model) -> bool:
    from modelbuild.graph.types import ELEM_TYPES

    return any(t.data_type == ELEM_TYPES["bf16"] for t in model.proto.graph.initializer)


def _crashed(message: str, level: Any) -> Diagnostic:
    return Diagnostic(
        "worker-crashed",
        message,
        "set graph_optimization_level to ORT_ENABLE_EXTENDED where this file runs on a CPU",
        level=level,
    )
