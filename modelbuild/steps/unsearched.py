"""The outcome of a conversion that needed no search: the same by any tolerance that holds at every row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbuild.base.errors import Diagnostic, ProofError
from modelbuild.steps import variant_rows
from modelbuild.steps.base import Outcome
from modelbuild.steps.searching import is_rounding
from modelbuild.steps.verify import Verify


def proven(proof: Verify, files: Mapping[str, Path]) -> tuple[Outcome, list[Any] | None]:
    """The proof of a file, which has to hold at the rows of the variants made from it, too.

    With the records of these rows; None where they cannot be judged anew.

    Raises:
        StepError, ProofError: as the proof.
    """
    outcome = proof.prove(files)
    try:
        return outcome, variant_rows.check(proof, files)
    except ProofError as error:
        if is_rounding(error):
            raise
    return outcome, None


def outcome(
    conversion: Mapping[str, Any],
    diagnostics: tuple[Diagnostic, ...],
    proof: Outcome,
    beyond: list[Any] | None,
) -> Outcome:
    """What a step says that converted and proved; ``beyond`` as from ``proven``."""
    data: dict[str, Any] = {"conversion": conversion}
    if beyond is not None and "record" in proof.data:
        told = [d.as_json() for d in diagnostics]
        data["record"] = {
            "conversion": conversion, "proof": proof.data["record"], "beyond": beyond, "said": told,
        }  # fmt: skip
    return Outcome(diagnostics, data, proof)


def judged(proof: Verify, record: Mapping[str, Any]) -> Outcome | None:
    """The same by the record of another tolerance; None where it cannot tell, or the verdict is no good one.

    Raises:
        TypeError: this is no such record; or KeyError, ValueError, AttributeError.
    """
    verdict = proof.judged(record["proof"])
    if verdict is None or any(proof.judged(beyond) is None for beyond in record["beyond"]):
        return None
    diagnostics = tuple(Diagnostic.from_json(dict(d)) for d in record["said"])
    return Outcome(diagnostics, {"conversion": dict(record["conversion"])}, verdict)
