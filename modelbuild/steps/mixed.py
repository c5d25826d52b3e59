"""fp32 ONNX -> fp16 or bf16 ONNX, with those nodes left in fp32 that have to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from modelbuild.base.catalogue import Level
from modelbuild.base.errors import Diagnostic, ProofError
from modelbuild.steps import clamps, unsearched
from modelbuild.steps.base import Outcome, Step
from modelbuild.steps.half import Half
from modelbuild.steps.searching import Searching, Words, conversion, is_broken, is_rounding
from modelbuild.steps.verify import Verify

if TYPE_CHECKING:
    from modelbuild.graph.files import Model


@dataclass(frozen=True, kw_only=True)
class Mixed(Half):
    """Convert and prove; if the proof fails, find what to keep in fp32 so that it does not.

    ``auto`` and ``mixed`` do the same; the one was asked for a decision and says what it decided,
    the other was told what to do.
    """

    method: Literal["mixed", "auto"]
    proof: Verify

    kind: ClassVar[str] = "mixed"
    version: ClassVar[int] = 10
    packages: ClassVar[tuple[str, ...]] = (*Half.packages, "onnxruntime", "ml_dtypes")
    of_pytorch: ClassVar[tuple[str, ...]] = Verify.of_pytorch

    def uses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.packages, *self.proof.uses())))

    def knobs(self) -> dict[str, Any]:
        return {**super().knobs(), "proof version": self.proof.version}

    def measured(self) -> dict[str, Any]:
        return {**self.knobs(), "proof": self.proof.measured()}

    def judged(self, record: Mapping[str, Any]) -> Outcome | None:
        return unsearched.judged(self.proof, record)

    @property
    def proven_by(self) -> Step:
        return self.proof

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``filename``; which nodes stay in fp32, and why, is in the data.

        Raises:
            StepError: ``opset-mismatch``, or the file is not valid.
            ProofError: ``fp16-infeasible``; or the proof fails for a reason that is not rounding.
        """
        model, diagnostics = self.source(given["model"])
        clamped = self.convert(model, out)
        try:
            proof, beyond = self._proven(given, out)
        except ProofError as plain:
            if not is_rounding(plain):
                raise
            if is_broken(plain):  # not a little off: what leaves the range tells the search where to look
                plain = self._explained(plain, given, out)
            return self._searched(model, given, out, plain, diagnostics)
        diagnostics = (*diagnostics, *self._that_matter(clamped, model, given))
        return unsearched.outcome({"method": "convert", "kept": []}, diagnostics, proof, beyond)

    def _that_matter(
        self, diagnostics: tuple[Diagnostic, ...], model: Model, given: Mapping[str, Path]
    ) -> tuple[Diagnostic, ...]:
        return clamps.that_matter(diagnostics, model, self.options().bounds().largest, given["reference"])

    def _proven(self, given: Mapping[str, Path], out: Path) -> tuple[Outcome, list[Any] | None]:
        return unsearched.proven(self.proof, {"model": out, "reference": given["reference"]})

    def _explained(self, error: ProofError, given: Mapping[str, Path], out: Path) -> ProofError:
        """With the ranges of the file in ``out``, which is the one that failed."""
        if "ranges" in error.data:
            return error
        return self.proof.explained(error, {"model": out, "reference": given["reference"]})

    def _searched(
        self,
        model: Model,
        given: Mapping[str, Path],
        out: Path,
        plain: ProofError,
        diagnostics: tuple[Diagnostic, ...],
    ) -> Outcome:
        from modelbuild.graph.mixed.roundings import Roundings
        from modelbuild.graph.naming import graphs, label

        searching = Searching(
            words=Words(self.dtype, "fp32", "fp16-infeasible"),
            proof=self.proof,
            reference=given["reference"],
            convert=lambda kept: self.convert(model, out, kept),
            prove=lambda: self._proven(given, out)[0],
            explain=lambda error: self._explained(error, given, out),
        )
        chosen = searching.run(plain, lambda: Roundings(model, self.options()))
        nodes = {label(n): n.op_type for g in graphs(model.proto.graph) for n in g.node}
        level: Level = "warning" if self.method == "auto" else "info"
        fallback = searching.fallback(nodes, chosen.found, plain, level)
        said = (*diagnostics, *self._that_matter(chosen.said, model, given), *fallback)
        return Outcome(said, {"conversion": conversion(chosen.found, plain, "mixed")}, chosen.proof)
