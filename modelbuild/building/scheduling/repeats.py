"""One cause is told once: what an export says of forward(), the reference has said already.

The reference calls the model as a user does, and so does every export before it exports. What fails
there fails in all of them, at the same line.
"""

from __future__ import annotations

from collections.abc import Mapping

from modelbuild.building.scheduling.runs import Ended
from modelbuild.plan.actions import REFERENCE

_OF_THE_MODEL = {"inputs-mismatch", "outputs-mismatch", "stateful-reference"}
"""What is found out by calling it, and in the same way for each precision."""


def repeated(ended: Mapping[str, Ended]) -> set[str]:
    """The actions that failed of what a run of the reference failed of."""
    failed = {action: e for action, e in ended.items() if e.status == "failed"}
    first = [failed.pop(action) for action in list(failed) if _is_reference(action)]
    faults = {e.data["fault"] for e in first if "fault" in e.data}
    codes = [found for found in map(_errors, first) if found and found <= _OF_THE_MODEL]
    return {a for a, e in failed.items() if e.data.get("fault") in faults or _errors(e) in codes}


def _is_reference(action: str) -> bool:
    """The one at all sizes, or one at those of a variant."""
    return action == REFERENCE or action.startswith(f"{REFERENCE} ")


def _errors(ended: Ended) -> set[str]:
    return {d.code for d in ended.diagnostics if d.level == "error"}
