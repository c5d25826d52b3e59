"""Results of one model are compared only where they are of the same weights.

Random weights differ between processors, and a cache that several machines share has results of all of
them under the same facts: each is right, and no two of them belong together.
"""

from __future__ import annotations

from modelbuild.base.records import WEIGHTS
from modelbuild.building.scheduling.runs import Ended, Run
from modelbuild.plan.actions import Action
from modelbuild.store import Entry


def agree(run: Run, action: Action, entry: Entry) -> bool:
    """Whether a stored result of an action is of the weights that the others of the run are of. If it is
    not, ``run.other_weights`` has the reason, in words."""
    others = _others(run, action.id, entry.data.get(WEIGHTS))
    if others:
        run.other_weights[action.id] = f"weights-differ: it was made with other weights than `{others[0]}`"
    return not others


def outdated(run: Run, action: Action, made: Ended) -> list[str]:
    """The actions whose results were there, and are of other weights than what was made just now."""
    found = _others(run, action.id, made.data.get(WEIGHTS))
    return [name for name in found if run.ended[name].status != "built"]


def _others(run: Run, name: str, weights: object) -> list[str]:
    """The other actions that ended with results of other weights than these."""
    if weights is None:
        return []
    return [
        other for other, ended in run.ended.items()
        if other != name and ended.data.get(WEIGHTS, weights) != weights
    ]  # fmt: skip
