"""Which artifacts a change rebuilds: the chains of actions behind them, before and after. Pure.

What is compared is what decides a result before it runs. A file may yet come out with the bytes that
it had, and then what is made from it stands: this is the most that a build will do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from modelbuild.base.keys import digest
from modelbuild.changes.naming import Role
from modelbuild.changes.review.values import Effect, Fate
from modelbuild.plan.actions import Action, Artifact, Plan
from modelbuild.plan.freshness import facts
from modelbuild.plan.planning import plan
from modelbuild.recipe.schema import Recipe
from modelbuild.steps.calibrate import Calibrate
from modelbuild.steps.mixed import Mixed
from modelbuild.steps.quantize import Quantize
from modelbuild.steps.verify import Verify


@dataclass(frozen=True)
class Outlook:
    """What a build will do: ``seconds`` is what all that runs again took, each action once; ``unknown``
    counts the actions of which that is not known."""

    artifacts: tuple[Effect, ...] = ()
    seconds: float | None = None
    unknown: int = 0


def outlook(
    old: Recipe | None, new: Recipe | None, files: Collection[Role], costs: Mapping[str, float]
) -> Outlook:
    """What becomes of every artifact. ``files`` are the roles in which some file changed; ``costs``
    has the seconds of the actions that ran before."""
    before, after = (plan(recipe) if recipe is not None else None for recipe in (old, new))
    if after is None:
        return Outlook(tuple(Effect(a.name, "removed") for a in before.artifacts) if before else ())
    was, now = _chains(before, ()) if before else {}, _chains(after, files)
    gone = {a.name: a for a in before.artifacts} if before else {}
    costs = {**_handed_over(after), **costs}
    order = {action: place for place, action in enumerate(after.by_id)}
    found = []
    for artifact in after.artifacts:
        moved = [i for i in _behind(after, artifact, order) if was.get(i) != now[i]]
        fate = _fate(artifact, gone.pop(artifact.name, None), moved)
        found.append(_effect(artifact.name, fate, moved, costs))
    again = {action for effect in found for action in effect.actions}
    known = [costs[action] for action in again if action in costs]
    artifacts = (*found, *(Effect(name, "removed") for name in gone))
    return Outlook(artifacts, sum(known) or None, len(again) - len(known))


def _handed_over(of: Plan) -> dict[str, float]:
    """The proofs that come with the file, from whoever made it: they cost nothing more."""
    steps = {action.id: action.step for action in of.actions}
    return {
        action.id: 0.0
        for action in of.actions
        if any(steps[maker].proven_by == action.step for maker in action.needs.values())
    }


def _fate(artifact: Artifact, gone: Artifact | None, moved: Collection[str]) -> Fate:
    if gone is None:
        return "added"
    if artifact.action in moved:
        return "rebuild"
    return "prove" if artifact.proof in moved else "same"


def _effect(name: str, fate: Fate, moved: Collection[str], costs: Mapping[str, float]) -> Effect:
    if fate == "same":
        return Effect(name, fate)
    known = [costs[action] for action in moved if action in costs]
    return Effect(name, fate, tuple(moved), sum(known) if len(known) == len(moved) else None)


def _chains(of: Plan, files: Collection[Role]) -> dict[str, str]:
    """A digest of each action and of all that its files come from."""
    found: dict[str, str] = {}
    for action in of.actions:
        inputs = {role: found[maker] for role, maker in action.needs.items()}
        touched = sorted(role for role in files if _reads(action, role))
        found[action.id] = digest([facts(action, inputs, {}), touched])
    return found


def _reads(action: Action, role: Role) -> bool:
    calibrates = isinstance(action.step, Calibrate)
    if role == "calibration" or calibrates:
        return calibrates and role == "calibration"
    if not action.discovers:
        return False
    checks = isinstance(action.step, Verify | Mixed | Quantize)
    if role == "function":
        return checks
    return not checks and (role == "model" or action.id == "reference")


def role(actions: Iterable[Action]) -> Role:
    """What a file is to a recipe whose ``actions`` have read it."""
    readers = list(actions)
    roles: tuple[Role, ...] = ("function", "data", "calibration")
    return next((role for role in roles if all(_reads(action, role) for action in readers)), "model")


def _behind(of: Plan, artifact: Artifact, order: Mapping[str, int]) -> list[str]:
    """The actions that an artifact comes from, its proof's, too, in their order."""
    found = list(dict.fromkeys(i for i in (artifact.action, artifact.proof) if i))
    for action in found:
        found += [i for i in of.by_id[action].needs.values() if i not in found]
    return sorted(found, key=order.__getitem__)
