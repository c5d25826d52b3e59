"""The sizes at which only static variants are proven, tried on the dynamic file that they come from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base.errors import ModelbuildError, ProofError
from modelbuild.steps.reference import INDEX
from modelbuild.steps.verify import Verify

if TYPE_CHECKING:
    from modelbuild.steps.reference import Case
    from modelbuild.steps.samples import Array


@dataclass(frozen=True)
class _Beyond(Verify):
    """The dynamic file's proof at the rows that are not its own."""

    def _cases(self, folder: Path) -> Iterator[tuple[Case, dict[str, Array], list[Array]]]:
        from modelbuild.steps import reference

        for row in _beyond(folder, self.rows):
            yield (reference.Case(**row), *reference.load_case(folder, row["file"]))


def check(proof: Verify, given: Mapping[str, Path]) -> list[Any] | None:
    """Compare at the variants' own rows as ``proof`` does at its own; the records of that, if there are
    such rows. None where they cannot be judged anew.

    Raises:
        ProofError: values are wrong there. What else is wrong at sizes that the dynamic file was not
            made for, the variants' own proofs say.
    """
    if not any(_beyond(given["reference"], proof.rows)):
        return []
    beyond = _Beyond(**{f.name: getattr(proof, f.name) for f in fields(Verify)})
    try:
        record = beyond.prove(given).data.get("record")
    except ProofError:
        raise
    except ModelbuildError:
        return None
    return None if record is None else [record]


def _beyond(folder: Path, rows: int | None) -> Iterator[dict[str, Any]]:
    if rows is None:
        return
    for row in json.loads((folder / INDEX).read_text()):
        if row["row"] is not None and row["row"] >= rows:
            yield row
