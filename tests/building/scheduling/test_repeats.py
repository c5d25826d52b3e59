"""One cause, one error: what is told of an export that failed of what the reference failed of."""

from __future__ import annotations

from typing import Any

import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.building.scheduling.repeats import repeated
from modelbuild.building.scheduling.runs import Ended


def failed(code: str, message: str = "", fault: str | None = None) -> Ended:
    data: dict[str, Any] = {} if fault is None else {"fault": fault}
    return Ended("failed", diagnostics=(Diagnostic(code, message),), data=data, exit_code=1)


AT_LINE_8 = "ValueError: no such luck (net.py:N in forward)"


@pytest.mark.parametrize(
    ("reference", "export", "again"),
    [
        pytest.param(
            failed("reference-failed", "at batch=1", AT_LINE_8),
            failed("export-failed", "at batch=2", AT_LINE_8),
            True,
            id="one-fault-at-two-sizes",
        ),
        pytest.param(
            failed("reference-failed", "at batch=9", "ValueError: too long (net.py:N in forward)"),
            failed("export-failed", "at batch=2", AT_LINE_8),
            False,
            id="two-faults",
        ),
        pytest.param(
            failed("reference-failed", "at batch=9", AT_LINE_8),
            failed("export-failed", "the exporter"),
            False,
            id="the-exporters-own",
        ),
        pytest.param(
            failed("inputs-mismatch", "needs `mask`"),
            failed("inputs-mismatch", "needs `mask`"),
            True,
            id="inputs",
        ),
        pytest.param(
            failed("stateful-reference", "changes `n`"),
            failed("stateful-reference", "keeps `n`"),
            True,
            id="state",
        ),
        pytest.param(failed("nondeterministic-reference"), failed("export-failed"), False, id="no-kin"),
        pytest.param(failed("step-failed", "a disk"), failed("step-failed", "a disk"), False, id="two-disks"),
        pytest.param(Ended("built"), failed("export-failed", "", AT_LINE_8), False, id="a-good-reference"),
        pytest.param(
            failed("inputs-mismatch"),
            Ended("built", diagnostics=(Diagnostic("inputs-mismatch", ""),)),
            False,
            id="a-good-export",
        ),
    ],
)
def test_what_the_reference_has_said_is_not_said_again(reference: Ended, export: Ended, again: bool) -> None:
    ended = {"reference": reference, "export": export, "fp32": Ended("blocked")}
    assert repeated(ended) == ({"export"} if again else set())


def test_without_a_reference_everything_is_said() -> None:
    assert repeated({"export": failed("inputs-mismatch")}) == set()
