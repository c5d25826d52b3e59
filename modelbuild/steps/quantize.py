"""fp32 ONNX and ranges -> int8 ONNX, with those nodes left out that have to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from modelbuild.base.errors import Diagnostic, ProofError, StepError
from modelbuild.graph.quantization import opsets
from modelbuild.steps import calibrate, unsearched
from modelbuild.steps.base import Outcome, Step
from modelbuild.steps.half import Half
from modelbuild.steps.quantizing import QuantizedFile
from modelbuild.steps.searching import Words, conversion, is_broken, is_rounding
from modelbuild.steps.verify import Verify

if TYPE_CHECKING:
    from modelbuild.graph.files import Model
    from modelbuild.graph.quantization.points import Int8Options

_OF_BASE = "name them under `precision.fp16.node_block_list`, or take `base: fp32`"


@dataclass(frozen=True, kw_only=True)
class Quantize(Step):
    """Quantize what ``op_types`` names, and convert the rest by ``half``.

    With a ``proof``, convert and prove; if that fails, find what to keep out of int8 so that it does not.
    """

    filename: str
    op_types: tuple[str, ...]
    op_block_list: tuple[str, ...]
    node_block_list: tuple[str, ...]
    per_channel: bool
    reduce_range: bool
    keep_initializers_as_inputs: bool | tuple[str, ...]  # or the names of those
    half: Half | None  # how what stays out is converted; None: it is fp32
    proof: Verify | None

    kind: ClassVar[str] = "quantize"
    version: ClassVar[int] = 5
    packages: ClassVar[tuple[str, ...]] = (*Half.packages, "onnxruntime", "ml_dtypes")
    of_pytorch: ClassVar[tuple[str, ...]] = Verify.of_pytorch

    def uses(self) -> tuple[str, ...]:
        proof = self.proof.uses() if self.proof is not None else ()
        return tuple(dict.fromkeys((*self.packages, *proof)))

    def knobs(self) -> dict[str, Any]:
        if self.proof is None:
            return super().knobs()
        return {**super().knobs(), "proof version": self.proof.version}

    def measured(self) -> dict[str, Any] | None:
        return None if self.proof is None else {**self.knobs(), "proof": self.proof.measured()}

    def judged(self, record: Mapping[str, Any]) -> Outcome | None:
        return None if self.proof is None else unsearched.judged(self.proof, record)

    @property
    def base(self) -> Literal["fp16", "fp32"]:
        """What all that stays out of int8 computes in."""
        return "fp32" if self.half is None else "fp16"

    @property
    def proven_by(self) -> Step | None:
        return self.proof

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``filename``; which nodes stay out of int8, and why, is in the data.

        Raises:
            StepError: ``opset-mismatch``, or the file is not valid.
            ProofError: ``int8-infeasible``; or the proof fails for a reason that is not rounding.
        """
        model, diagnostics = self._source(given["model"])
        work = QuantizedFile(
            filename=self.filename,
            model=model,
            ranges=calibrate.load(given["ranges"]),
            asked=self._options(),
            half=self.half,
            listed=self.keep_initializers_as_inputs,
            out=out,
            reference=given.get("reference", out),
        )
        if not work.points(()):
            raise ProofError((self._nothing(),), {})
        diagnostics = (*diagnostics, *work.unranged(), *work.unknown(), *work.convert(()))
        as_asked: dict[str, Any] = {"method": "static", "kept": []}
        if self.proof is None:
            return Outcome(diagnostics, {"conversion": as_asked | work.observed()})
        try:
            proof, beyond = unsearched.proven(self.proof, work.files)
        except ProofError as plain:
            if not is_rounding(plain):
                raise
            return self._searched(work, self.proof, plain, diagnostics)
        return unsearched.outcome(as_asked | work.observed(), diagnostics, proof, beyond)

    def _source(self, folder: Path) -> tuple[Model, tuple[Diagnostic, ...]]:
        """The float32 graph, at an opset that has the scales, and what to say about that."""
        from modelbuild.graph import files, interface, opset, shapes
        from modelbuild.graph.naming import prepared

        diagnostics: tuple[Diagnostic, ...] = ()
        if self.half is not None:
            model, diagnostics = self.half.source(folder)
        else:
            (path,) = folder.glob("*.onnx")
            model = files.read(path)
            shapes.forget(model.proto.graph)
            interface.set_initializers_as_inputs(model, False)
        needed = opsets.NEEDED[self.base]
        if model.opset >= needed:
            return model, diagnostics
        raised, reason = opset.converted(model, prepared(model.proto), needed)
        what = f"int8 with {self.base} around it needs opset {needed}"
        if raised is None:
            raise StepError(
                Diagnostic(
                    "opset-mismatch",
                    f"{what}, and ONNX's version converter does not raise this graph from {model.opset}: "
                    f"{reason}",
                    opsets.cure(self.base),
                )
            )
        said = f"raised from opset {model.opset} to {needed}: {what}"
        return raised, (*diagnostics, Diagnostic("opset-mismatch", said, level="info"))

    def _options(self) -> Int8Options:
        from modelbuild.graph.quantization.points import Int8Options

        listed = self.keep_initializers_as_inputs
        return Int8Options(
            op_types=self.op_types,
            op_block_list=self.op_block_list,
            node_block_list=self.node_block_list,
            per_channel=self.per_channel,
            reduce_range=self.reduce_range,
            base=self.base,
            held=() if isinstance(listed, bool) else listed,
        )

    def _searched(
        self, work: QuantizedFile, proof: Verify, plain: ProofError, diagnostics: tuple[Diagnostic, ...]
    ) -> Outcome:
        """With the fewest nodes out of int8; before that, with those in fp32 that the base needs there."""
        from modelbuild.graph.mixed.quantizations import Quantizations

        based = self._based(work, proof)
        diagnostics = (*diagnostics, *based)
        if based:
            work.convert(())
            try:
                outcome, beyond = unsearched.proven(proof, work.files)
                data: dict[str, Any] = {"method": "static", "kept": [], "kept_fp32": list(work.in_fp32)}
                return unsearched.outcome(data | work.observed(), diagnostics, outcome, beyond)
            except ProofError as error:
                if not is_rounding(error):
                    raise
                plain = error
        searching = work.searching(Words("int8", self.base, "int8-infeasible"), proof, work.convert)
        chosen = searching.run(plain, lambda: Quantizations(work.model, work.ranges, work.options()))
        fallback = searching.fallback(work.operators(), chosen.found, plain, "warning")
        data = conversion(chosen.found, plain, "mixed")
        if work.in_fp32:
            data["kept_fp32"] = list(work.in_fp32)
        return Outcome((*diagnostics, *fallback), {"conversion": data | work.observed()}, chosen.proof)

    def _based(self, work: QuantizedFile, proof: Verify) -> tuple[Diagnostic, ...]:
        """Find the nodes that the base alone needs in fp32 to hold the tolerance, and keep them there."""
        from modelbuild.graph.mixed.roundings import Roundings

        if self.half is None:
            return ()
        half, every = self.half, tuple(point.node for point in work.points(()))
        knobs = {f.name: getattr(proof, f.name) for f in fields(Verify)}
        alone = Verify(**{**knobs, "precision": half.dtype})

        def convert(kept: tuple[str, ...]) -> tuple[Diagnostic, ...]:
            work.in_fp32 = kept
            return work.convert(every)

        convert(())
        try:
            unsearched.proven(alone, work.files)
            return ()
        except ProofError as error:
            if not is_rounding(error):
                raise
            plain = error
        if is_broken(plain):  # what leaves the range tells the search where to look
            plain = alone.explained(plain, work.files)
        searching = work.searching(Words(half.dtype, "fp32", "int8-infeasible"), alone, convert)
        chosen = searching.run(plain, lambda: Roundings(work.model, half.options()))
        return searching.fallback(work.operators(), chosen.found, plain, "warning", _OF_BASE)

    def _nothing(self) -> Diagnostic:
        listed = " or ".join(self.op_types)
        blocked = self.op_block_list or self.node_block_list
        return Diagnostic(
            "int8-infeasible",
            f"the graph has no {listed} that can be int8"
            + (" beside those that the recipe blocks" if blocked else ""),
            "leave this precision out" + ("; or block fewer nodes" if blocked else ""),
        )
