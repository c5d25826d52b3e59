"""fp32 ONNX -> fp16 or bf16 ONNX, with those nodes left in fp32 that have to be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, ProofError, first_line
from modelbuild.base.telling import tell
from modelbuild.steps import clamps, variant_rows
from modelbuild.steps.base import Outcome, Step
from modelbuild.steps.figures import decibels
from modelbuild.steps.half import Half
from modelbuild.steps.model import import_attribute
from modelbuild.steps.verify import Verify
from modelbuild.wording.phrases import few

if TYPE_CHECKING:
    from modelbuild.base.tolerance import Tolerance
    from modelbuild.graph.files import Model
    from modelbuild.graph.mixed.search import Infeasible, Search, SearchResult, Trial

_ROUNDS = 5  # searches, each wiser by an input that the proof of the last one failed on
_NAMED = 5  # nodes or weights that a message names
# Failures that another choice of precision may repair.
_OF_ROUNDING = frozenset({"parity-failed", "not-finite", "fp16-overflow", "fp16-underflow"})


@dataclass(frozen=True, kw_only=True)
class Mixed(Half):
    """Convert and prove; if the proof fails, find what to keep in fp32 so that it does not.

    ``auto`` and ``mixed`` do the same; the one was asked for a decision and says what it decided,
    the other was told what to do.
    """

    method: Literal["mixed", "auto"]
    proof: Verify

    kind: ClassVar[str] = "mixed"
    version: ClassVar[int] = 9
    packages: ClassVar[tuple[str, ...]] = (*Half.packages, "onnxruntime", "ml_dtypes")
    of_pytorch: ClassVar[tuple[str, ...]] = Verify.of_pytorch

    def uses(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.packages, *self.proof.uses())))

    def knobs(self) -> dict[str, Any]:
        return {**super().knobs(), "proof version": self.proof.version}

    def measured(self) -> dict[str, Any]:
        return {**self.knobs(), "proof": self.proof.measured()}

    def judged(self, record: Mapping[str, Any]) -> Outcome | None:
        """What is converted without a search is the same by any tolerance that holds at every row."""
        proof = self.proof.judged(record["proof"])
        if proof is None or any(self.proof.judged(beyond) is None for beyond in record["beyond"]):
            return None
        diagnostics = tuple(Diagnostic.from_json(dict(d)) for d in record["said"])
        return self._plainly(diagnostics, proof)

    @staticmethod
    def _plainly(diagnostics: tuple[Diagnostic, ...], proof: Outcome, record: Any = None) -> Outcome:
        data: dict[str, Any] = {"conversion": {"method": "convert", "kept": []}}
        return Outcome(diagnostics, data if record is None else {**data, "record": record}, proof)

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
            if not _is_rounding(plain):
                raise
            if _is_broken(plain):  # not a little off: what leaves the range tells the search where to look
                plain = self._explained(plain, given, out)
            return self._searched(model, given, out, plain, diagnostics)
        diagnostics = (*diagnostics, *self._that_matter(clamped, model, given))
        if beyond is None or "record" not in proof.data:
            return self._plainly(diagnostics, proof)
        told = [d.as_json() for d in diagnostics]
        record = {"proof": proof.data["record"], "beyond": beyond, "said": told}
        return self._plainly(diagnostics, proof, record)

    def _that_matter(
        self, diagnostics: tuple[Diagnostic, ...], model: Model, given: Mapping[str, Path]
    ) -> tuple[Diagnostic, ...]:
        return clamps.that_matter(diagnostics, model, self.options().bounds().largest, given["reference"])

    def _proven(self, given: Mapping[str, Path], out: Path) -> tuple[Outcome, list[Any] | None]:
        """The proof of the file, which has to hold at the rows of the variants made from it, too.

        With the records of these rows; None where they cannot be judged anew.
        """
        files = {"model": out, "reference": given["reference"]}
        proof = self.proof.prove(files)
        try:
            return proof, variant_rows.check(self.proof, files)
        except ProofError as error:
            if _is_rounding(error):
                raise
        return proof, None

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
        from modelbuild.graph.mixed.search import Infeasible, Search
        from modelbuild.graph.mixed.switches import Switches
        from modelbuild.steps import reference

        tell("the plain conversion breaks the tolerance; looking for nodes to keep in fp32")
        bounds = [self.proof.tolerance.at(o.name, self.dtype) for o in model.proto.graph.output]
        # The recorded inputs that the search knows.
        tried = [_chosen(plain) or reference.smallest(given["reference"])]
        suspects = [row["tensor"] for row in plain.data.get("ranges", ()) if row["overflows"]]
        try:
            switches = Switches(Roundings(model, self.options()))
        except Exception as error:  # whatever ONNX Runtime does not take of a graph with switches
            raise _not_searched(self._explained(plain, given, out), error) from error
        search = Search(switches, [self._trial(given["reference"], tried[0], bounds)], tell, suspects)
        if search.unrounded() > 1:
            raise self._explained(_of_float(plain), given, out)
        last, nearly, rounds = plain, "", _ROUNDS
        while True:
            try:
                found = search.run() if rounds else None
            except Infeasible as error:
                if search.limit < 1:  # stricter than the tolerance, to no avail
                    nearly = f", and a choice with more room would keep {error.kept} of {error.nodes} nodes"
                    found = None
                else:
                    raise ProofError((self._infeasible(error),), dict(plain.data)) from error
            if found is None:
                if not search.settle():
                    break
                rounds = _ROUNDS
                continue
            rounds -= 1
            clamped = self.convert(model, out, found.kept)
            try:
                proof, _ = self._proven(given, out)
            except ProofError as error:
                last = error
                self._learn(search, tried, bounds, given["reference"], error, found.after)
                continue
            fallback = self._fallback(model, found, plain)
            data = {"conversion": self._record(found, plain)}
            clamped = self._that_matter(clamped, model, given)
            return Outcome((*diagnostics, *clamped, *fallback), data, proof)
        last = self._explained(last, given, out)
        raise ProofError((self._gave_up(tried, search, nearly), *last.diagnostics), last.data)

    def _learn(
        self,
        search: Search,
        tried: list[str],
        bounds: Sequence[Tolerance],
        reference: Path,
        error: ProofError,
        after: float,
    ) -> None:
        """Take the input along that the proof failed on worst; or be stricter on those at hand.

        Where only the recipe's own function fails, it does not say on which input or by how much:
        so half of the strain ``after`` the last choice is the next one's limit.
        """
        if _is_refused(error):
            search.limit = 0.5 * min(after, search.limit)
            return
        name = _worst(error)
        if name is None or name in tried:
            search.limit *= 0.7
            return
        tried.append(name)
        trial = self._trial(reference, name, bounds)
        if _is_broken(error):  # what breaks only on this input shows its roundings only on it
            search.trials.insert(0, trial)
            search.forget()
        else:
            search.trials.append(trial)

    def _trial(self, reference: Path, name: str, bounds: Sequence[Tolerance]) -> Trial:
        import numpy as np

        from modelbuild.graph.mixed.search import Trial
        from modelbuild.steps import compare
        from modelbuild.steps.reference import load_case

        arrays, expected = load_case(reference, name)

        def strain(outputs: Sequence[Any]) -> Any:
            rows = list(zip(bounds, expected, outputs, strict=True))
            if any(e.shape != o.shape for _, e, o in rows):  # other values let other rows through
                return np.array([np.inf])
            return np.array([s for b, e, o in rows for s in compare.strains(e, o, b)])

        if self.proof.function is None:
            return Trial(arrays, strain)
        return Trial(arrays, strain, lambda outputs: self._accepted(expected, outputs))

    def _accepted(self, expected: Sequence[Any], outputs: Sequence[Any]) -> bool:
        """What the recipe's own function says; what else is wrong with it, the proof says."""
        import numpy as np

        function = import_attribute(str(self.proof.function))
        try:
            verdict = function([a.copy() for a in expected], [a.copy() for a in outputs])
        except Exception as error:
            passing.met(error)
            return False
        return isinstance(verdict, bool | np.bool_) and bool(verdict)

    # ---- what is said --------------------------------------------------------------------------

    def _record(self, found: SearchResult, plain: ProofError) -> dict[str, Any]:
        parity: Mapping[str, Any] = plain.data.get("parity", {})
        return {
            "method": "mixed",
            "kept": list(found.kept),
            "before": parity.get("outputs", {}),
            "runs": found.runs,
        }

    def _fallback(self, model: Model, found: SearchResult, plain: ProofError) -> tuple[Diagnostic, ...]:
        if not found.kept:
            return ()
        from modelbuild.graph.naming import graphs, label

        nodes = {label(n): n.op_type for g in graphs(model.proto.graph) for n in g.node}
        named = few([f"`{n}` ({nodes.get(n, '?')})" for n in found.kept], _NAMED)
        count = f"{len(found.kept)} of {len(nodes)} nodes stay" if len(found.kept) > 1 else "one node stays"
        overflow = any(row["overflows"] for row in plain.data.get("ranges", ()))
        before = "values overflow" if overflow else f"the error is {_share(found.plain)} the tolerance"
        if not overflow and not math.isfinite(found.plain):
            before = "outputs are not finite or of other sizes"
        if _is_refused(plain):
            before = f"`{self.proof.function}` says False"
        return (
            Diagnostic(
                "precision-fallback",
                f"{count} in fp32: {named}. With all in {self.dtype} {before}; now the error is "
                f"{_share(found.after)} the tolerance",
                "`modelbuild build --write-back` puts them into the recipe: the next build need not search",
                level="warning" if self.method == "auto" else "info",
            ),
        )

    def _infeasible(self, error: Infeasible) -> Diagnostic:
        total = sum(strain for _, strain in error.worst) or 1.0
        worst = ", ".join(f"`{name}` ({strain / total:.0%})" for name, strain in error.worst[:_NAMED])
        most = f"; most of it comes from {worst}" if worst else ""
        stay = ""
        if error.nodes:
            count = (
                f"all {error.nodes}" if error.kept == error.nodes else f"{error.kept} of the {error.nodes}"
            )
            stay = f"; {count} nodes that round would have to stay in fp32"
        much = f"{_share(error.strain)} the error that"
        if not math.isfinite(error.strain):
            much = "values that are not finite, which no"
        alone = "" if error.what == "everything" else " alone"
        if error.refused:
            return Diagnostic(
                "fp16-infeasible",
                f"`{self.proof.function}` says False where no more than {error.what} are rounded to "
                f"{self.dtype}{stay}" + (f"; most of the error comes from {worst}" if worst else ""),
                "let the function accept a larger error, or leave this precision out",
            )
        return Diagnostic(
            "fp16-infeasible",
            f"rounding {error.what} to {self.dtype}{alone} gives {much} {self.proof.tolerance} "
            f"allows{most}{stay}",
            f"{self._bearable(error.strain)}, or leave this precision out"
            if error.worst
            else "set `keep_io_types: true`, or loosen the tolerance",
        )

    def _gave_up(self, tried: Sequence[str], search: Search, nearly: str) -> Diagnostic:
        inputs = "the input it knows" if len(tried) == 1 else f"the {len(tried)} inputs it knows"
        return Diagnostic(
            "fp16-infeasible",
            f"no choice of nodes to keep in fp32 was found: what holds on {inputs} fails in the proof"
            f"{nearly} ({search.runs} runs)",
            "loosen the tolerance, name the nodes with `node_block_list`, or leave this precision out",
        )

    def _bearable(self, strain: float) -> str:
        """A tolerance that the weights leave room in, for the bounds whose errors are to scale."""
        if not math.isfinite(strain):
            return "scale the values into its range"
        factor = strain**0.5 * 1.5
        named = {k: v for k, v in self.proof.tolerance.named().items() if k not in ("cosine", "sqnr")}
        bounds = ", ".join(f"{k}: {v * factor:.1g}" for k, v in named.items() if v)
        if self.proof.tolerance.sqnr is not None:
            bounds += f"{', ' * bool(bounds)}sqnr: {self.proof.tolerance.sqnr + decibels(factor):.0f}"
        return f"a tolerance of about {{{bounds}}} can be held" if bounds else "loosen the tolerance"


def _not_searched(plain: ProofError, error: Exception) -> ProofError:
    diagnostic = Diagnostic(
        "step-failed",
        f"the search for nodes to keep in fp32 does not start: {first_line(error)}",
        "name them yourself with `node_block_list`, and please report this with the log",
    )
    return ProofError((*plain.diagnostics, diagnostic), plain.data)


def _of_float(plain: ProofError) -> ProofError:
    diagnostic = Diagnostic(
        "fp16-infeasible",
        "the float32 graph breaks this tolerance, too, so it is not for its rounding that the file fails",
        "the proof of fp32 says what is wrong; or loosen the tolerance",
    )
    return ProofError((*plain.diagnostics, diagnostic), plain.data)


def _is_broken(error: ProofError) -> bool:
    """Whether outputs are far from right, and not merely too rough."""
    return any(r["one_sided"] or r["headroom"] < 0.1 for r in error.data.get("cases", ()))


def _is_refused(error: ProofError) -> bool:
    """Whether every value is within the tolerance, and only the recipe's own function fails."""
    rows = error.data.get("cases", ())
    return bool(rows) and all(r["headroom"] >= 1 for r in rows)


def _is_rounding(error: ProofError) -> bool:
    return all(d.code in _OF_ROUNDING for d in error.diagnostics if d.level == "error")


def _chosen(error: ProofError) -> str | None:
    """The recorded input to search on: of the small ones that show the trouble, the worst.

    Runs at the largest sizes cost most; the proof makes them, and says if one has to be added. None
    where the file runs on none of them.
    """
    rows = error.data.get("cases", ())
    if not rows:
        return None
    broken = [r for r in rows if r["one_sided"]] or rows
    least = min(r["size"] for r in broken)
    return str(min((r for r in broken if r["size"] <= 2 * least), key=_badness)["file"])


def _worst(error: ProofError) -> str | None:
    rows = error.data.get("cases", [])
    return str(min(rows, key=_badness)["file"]) if rows else None


def _badness(row: Mapping[str, Any]) -> tuple[bool, float, str]:
    """The worst comes first."""
    return not row["one_sided"], row["headroom"], row["file"]


def _share(strain: float) -> str:
    """An error against the tolerance, as a person says it: strain is its square."""
    error = strain**0.5
    return f"{error:.0%} of" if error < 10 else f"{error:.3g} times"
