"""The sizes at which only static variants are proven, tried on the dynamic file that they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbuild.base.errors import ModelbuildError, ProofError
from modelbuild.steps.reference import beyond
from modelbuild.steps.verify import Verify


def check(proof: Verify, given: Mapping[str, Path]) -> list[Any] | None:
    """Compare at the variants' own rows as ``proof`` does at its own; the records of that, if there are
    such rows. None where they cannot be judged anew.

    Raises:
        ProofError: values are wrong there. What else is wrong at sizes that the dynamic file was not
            made for, the variants' own proofs say.
    """
    if not any(True for _ in beyond(given["reference"], proof.rows)):
        return []
    try:
        record = proof.prove(given, beyond=True).data.get("record")
    except ProofError:
        raise
    except ModelbuildError:
        return None
    return None if record is None else [record]
