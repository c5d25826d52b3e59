"""A search for the nodes that stay out of a conversion: it finds, converts, proves, and looks again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base import passing
from modelbuild.base.catalogue import Code, Level
from modelbuild.base.errors import Diagnostic, ProofError, first_line
from modelbuild.base.telling import tell
from modelbuild.steps.base import Outcome
from modelbuild.steps.figures import decibels
from modelbuild.steps.model import import_attribute
from modelbuild.steps.verify import Verify
from modelbuild.wording.phrases import few

if TYPE_CHECKING:
    from modelbuild.base.tolerance import Tolerance
    from modelbuild.graph.mixed.reduction import Reduction
    from modelbuild.graph.mixed.search import Infeasible, Search, SearchResult, Trial

_ROUNDS = 5  # searches, each wiser by an input that the proof of the last one failed on
_NAMED = 5  # nodes or weights that a message names
_WRITE_BACK = "`modelbuild build --write-back` puts them into the recipe: the next build need not search"
# Failures that another choice of precision may repair.
_OF_ROUNDING = frozenset({"parity-failed", "not-finite", "fp16-overflow", "fp16-underflow"})


@dataclass(frozen=True)
class Words:
    """What a search is told with: the precision that is asked for, what kept nodes compute in, and the code
    that says that no choice of them helps."""

    precision: str
    outside: str
    infeasible: Code


@dataclass(frozen=True)
class Chosen:
    """What a search came to: the nodes, the proof of the file with them, and what was said of converting."""

    found: SearchResult
    proof: Outcome
    said: tuple[Diagnostic, ...]


@dataclass
class Searching:
    """One search for one file.

    ``convert`` writes the file with nodes kept out and says what it did to values; ``prove`` is the proof of
    what it wrote, and ``explain`` puts what shows the trouble into the error of one.
    """

    words: Words
    proof: Verify
    reference: Path
    convert: Callable[[tuple[str, ...]], tuple[Diagnostic, ...]]
    prove: Callable[[], Outcome]
    explain: Callable[[ProofError], ProofError]

    def run(self, plain: ProofError, reduction: Callable[[], Reduction]) -> Chosen:
        """Look for nodes, as the file with none kept out failed as ``plain`` says.

        Raises:
            ProofError: there are none; or the model itself breaks the tolerance.
        """
        from modelbuild.graph.mixed.search import Infeasible, Search
        from modelbuild.graph.mixed.switches import Switches
        from modelbuild.steps import reference

        tell(f"the plain conversion breaks the tolerance; looking for nodes to keep in {self.words.outside}")
        # The recorded inputs that the search knows.
        tried = [_chosen(plain) or reference.smallest(self.reference)]
        suspects = [row["tensor"] for row in plain.data.get("ranges", ()) if row["overflows"]]
        try:
            made = reduction()
            switches = Switches(made)
        except Exception as error:  # whatever ONNX Runtime does not take of a graph with switches
            raise self._not_searched(self.explain(plain), error) from error
        outputs = [o.name for o in made.proto.graph.output]
        bounds = [self.proof.tolerance.at(name, self.words.precision) for name in outputs]
        search = Search(switches, [self._trial(tried[0], bounds)], tell, suspects)
        if search.unrounded() > 1:
            raise self._of_float(self.explain(plain))
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
            said = self.convert(found.kept)
            try:
                return Chosen(found, self.prove(), said)
            except ProofError as error:
                last = error
                self._learn(search, tried, bounds, error, found.after)
        last = self.explain(last)
        raise ProofError((self._gave_up(tried, search, nearly), *last.diagnostics), last.data)

    def _learn(
        self,
        search: Search,
        tried: list[str],
        bounds: Sequence[Tolerance],
        error: ProofError,
        after: float,
    ) -> None:
        """Take the input along that the proof failed on worst; or be stricter on those at hand.

        Where only the recipe's own function fails, it does not say on which input or by how much:
        so half of the strain ``after`` the last choice is the next one's limit.
        """
        if is_refused(error):
            search.limit = 0.5 * min(after, search.limit)
            return
        name = _worst(error)
        if name is None or name in tried:
            search.limit *= 0.7
            return
        tried.append(name)
        trial = self._trial(name, bounds)
        if is_broken(error):  # what breaks only on this input shows its roundings only on it
            search.trials.insert(0, trial)
            search.forget()
        else:
            search.trials.append(trial)

    def _trial(self, name: str, bounds: Sequence[Tolerance]) -> Trial:
        import numpy as np

        from modelbuild.graph.mixed.search import Trial
        from modelbuild.steps import compare
        from modelbuild.steps.reference import load_case

        arrays, expected = load_case(self.reference, name)

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

    def fallback(
        self,
        nodes: Mapping[str, str],
        found: SearchResult,
        plain: ProofError,
        level: Level,
        hint: str = _WRITE_BACK,
    ) -> tuple[Diagnostic, ...]:
        """A word on what was kept, of ``nodes`` with their operators."""
        if not found.kept:
            return ()
        named = few([f"`{n}` ({nodes.get(n, '?')})" for n in found.kept], _NAMED)
        count = f"{len(found.kept)} of {len(nodes)} nodes stay" if len(found.kept) > 1 else "one node stays"
        overflow = any(row["overflows"] for row in plain.data.get("ranges", ()))
        before = "values overflow" if overflow else f"the error is {_share(found.plain)} the tolerance"
        if not overflow and not math.isfinite(found.plain):
            before = "outputs are not finite or of other sizes"
        if is_refused(plain):
            before = f"`{self.proof.function}` says False"
        return (
            Diagnostic(
                "precision-fallback",
                f"{count} in {self.words.outside}: {named}. With all in {self.words.precision} {before}; "
                f"now the error is {_share(found.after)} the tolerance",
                hint,
                level=level,
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
            stay = f"; {count} nodes that round would have to stay in {self.words.outside}"
        much = f"{_share(error.strain)} the error that"
        if not math.isfinite(error.strain):
            much = "values that are not finite, which no"
        alone = "" if error.what == "everything" else " alone"
        to = self.words.precision
        if error.refused:
            return Diagnostic(
                self.words.infeasible,
                f"`{self.proof.function}` says False where no more than {error.what} are rounded to "
                f"{to}{stay}" + (f"; most of the error comes from {worst}" if worst else ""),
                "let the function accept a larger error, or leave this precision out",
            )
        return Diagnostic(
            self.words.infeasible,
            f"rounding {error.what} to {to}{alone} gives {much} {self.proof.tolerance} allows{most}{stay}",
            f"{self._bearable(error.strain)}, or leave this precision out"
            if error.worst
            else "set `keep_io_types: true`, or loosen the tolerance",
        )

    def _gave_up(self, tried: Sequence[str], search: Search, nearly: str) -> Diagnostic:
        inputs = "the input it knows" if len(tried) == 1 else f"the {len(tried)} inputs it knows"
        return Diagnostic(
            self.words.infeasible,
            f"no choice of nodes to keep in {self.words.outside} was found: what holds on {inputs} fails in "
            f"the proof{nearly} ({search.runs} runs)",
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

    def _not_searched(self, plain: ProofError, error: Exception) -> ProofError:
        diagnostic = Diagnostic(
            "step-failed",
            f"the search for nodes to keep in {self.words.outside} does not start: {first_line(error)}",
            "name them yourself with `node_block_list`, and please report this with the log",
        )
        return ProofError((*plain.diagnostics, diagnostic), plain.data)

    def _of_float(self, plain: ProofError) -> ProofError:
        diagnostic = Diagnostic(
            self.words.infeasible,
            "the float32 graph breaks this tolerance, too, so it is not for its rounding that the file fails",
            "the proof of fp32 says what is wrong; or loosen the tolerance",
        )
        return ProofError((*plain.diagnostics, diagnostic), plain.data)


def conversion(found: SearchResult, plain: ProofError, method: str) -> dict[str, Any]:
    """What a search came to, as the data of a conversion."""
    parity: Mapping[str, Any] = plain.data.get("parity", {})
    return {
        "method": method,
        "kept": list(found.kept),
        "before": parity.get("outputs", {}),
        "runs": found.runs,
    }


def is_broken(error: ProofError) -> bool:
    """Whether outputs are far from right, and not merely too rough."""
    return any(r["one_sided"] or r["headroom"] < 0.1 for r in error.data.get("cases", ()))


def is_refused(error: ProofError) -> bool:
    """Whether every value is within the tolerance, and only the recipe's own function fails."""
    rows = error.data.get("cases", ())
    return bool(rows) and all(r["headroom"] >= 1 for r in rows)


def is_rounding(error: ProofError) -> bool:
    """Whether another choice of nodes may repair it."""
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
