"""The proof: an ONNX file against PyTorch, before anybody can see it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, ProofError
from modelbuild.base.tensors import TensorSpec
from modelbuild.base.tolerance import Tolerance
from modelbuild.machine.isolate import in_child
from modelbuild.steps import claims
from modelbuild.steps.base import Outcome, Step
from modelbuild.steps.record import Record
from modelbuild.steps.running import Running, started

if TYPE_CHECKING:
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
    version: ClassVar[int] = 11
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
    def dtype(self) -> str:
        """The type of the file's floats, as a precision."""
        return self.precision

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

    def prove(
        self,
        given: Mapping[str, Path],
        base: Path | None = None,
        *,
        kept: bool = False,
        beyond: bool = False,
    ) -> Outcome:
        """The verdict alone. With ``kept``, what was measured of a file that fails is in the error, too.
        With ``beyond`` it is at the rows of the variants that are not the file's own.

        Raises:
            StepError, ProofError: as ``run``.
        """
        from modelbuild.graph import extents, files, interface
        from modelbuild.graph.counting import decided_by_floats, decided_by_values
        from modelbuild.steps.proof import Proof

        path = given["model"] / self.filename
        claims.check_file(path)
        model = files.read(path)
        claims.check_interface(model, self.inputs, self.dtype, self.keep_io_types)
        other = self._named_rightly(model)
        running = self._started(path, model)
        sized = (lambda: ()) if self.precision == "fp32" else lambda: extents.sized_by_values(model.proto)
        names = [p.name for p in interface.outputs(model)]
        claims.check_bounds(self.tolerance, names)
        proof = Proof(self, names, sized, decided_by_floats(model), decided_by_values(model))
        own_data = False
        for case, arrays, expected in self._cases(given["reference"], beyond):
            proof.add(case, expected, running.run, arrays)
            own_data = own_data or case.row is None
        narrow = () if own_data else claims.narrow(self.inputs, self.precision, self.sizes)
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

    def _named_rightly(self, model: Model) -> tuple[Diagnostic, ...]:
        """What to say of the file's precision.

        Raises:
            ProofError: it is not that of its name.
        """
        return claims.check_precision(model, self.precision)

    def _started(self, path: Path, model: Model) -> Running:
        return started(path, model, self.precision)

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

    def _unnoticed(self, running: Running, reference: Path) -> Losses | None:
        """What leaves the range of a file that is proven: where an alarm rang, or where there is none."""
        from modelbuild.steps import losses
        from modelbuild.steps.reference import load_case, smallest

        if self.dtype == "fp32":
            return None
        inputs = {id(arrays): arrays for arrays in running.rung.values()}
        feeds = [running.feed(arrays) for arrays in inputs.values()]
        if running.blind:
            feeds.append(running.feed(load_case(reference, smallest(reference))[0]))
        if not feeds:
            return None
        try:
            only = None if running.blind else running.rung.keys()
            return losses.unnoticed(running.model, self.dtype, lambda: feeds, only)
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
        if self.dtype == "fp32" or not ran or codes.isdisjoint(_WRONG_VALUES):
            return error
        model = with_numpy_edges(files.read(given["model"] / self.filename))
        dtypes = {p.name: files.numpy_dtype(p.dtype) for p in interface.inputs(model)}

        def feeds() -> Iterator[dict[str, Array]]:
            for case, arrays, _ in self._cases(given["reference"]):
                if case.file in ran:
                    yield {name: np.asarray(arrays[name], dtype) for name, dtype in dtypes.items()}

        try:
            found = losses(model, self.dtype, feeds, broke="not-finite" in codes)
        except Exception as reason:
            passing.met(reason)
            traceback.print_exc()  # the verdict holds without its reasons
            return error
        return ProofError((*found.diagnostics, *error.diagnostics), {**error.data, "ranges": found.rows})

    def _cases(
        self, folder: Path, beyond: bool = False
    ) -> Iterator[tuple[Case, dict[str, Array], list[Array]]]:
        from modelbuild.steps import reference

        if beyond:
            for case in reference.beyond(folder, self.rows):
                yield (case, *reference.load_case(folder, case.file))
            return
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


def _with(lost: Losses | None, record: dict[str, Any]) -> dict[str, Any]:
    """A record with what half precision loses of a file whose values hold, which no tolerance decides."""
    if lost is None:
        return record
    return {**record, "lost": [d.as_json() for d in lost.diagnostics], "ranges": lost.rows}
