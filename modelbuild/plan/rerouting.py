"""Another way to the static variants, where the dynamic model is refused. Pure.

A model whose batch is baked cannot be one dynamic file, and can be a file for each of batch 1, 4
and 8. What is found wrong with the dynamic one stays wrong with it; the variants go around that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

from modelbuild.base.tensors import Sizes
from modelbuild.plan.actions import REFERENCE, Action, Artifact, Plan
from modelbuild.steps.adopt import AdoptedReference
from modelbuild.steps.export import Export
from modelbuild.steps.reference import Reference
from modelbuild.steps.static import Static


def rerouted(plan: Plan, refused: str, data: Mapping[str, Any], settled: Collection[str]) -> Plan:
    """The plan without the ``refused`` action behind its static variants, as far as there is one.

    ``data`` are those of the refusal. What is ``settled`` runs, or has come to its end. A variant in
    which all that was found fixed still varies would be refused as well.
    """
    pinned = {plan.recipe.variant_suffix(sizes): sizes for sizes in plan.recipe.static}
    fixed = set(data.get("axes", ()))
    able = {variant for variant, sizes in pinned.items() if not fixed or fixed & set(sizes)}
    if refused == REFERENCE:
        fails = data.get("fails", ())
        able = {r.variant for r in plan.references if _first_row(r) not in fails}
        plan = _with_own_references(plan, able, settled)
        plan = replace(plan, actions=tuple(_held_back(a, fails, settled) for a in plan.actions))
    waiting = set(plan.dependents(refused)) - set(settled)
    chosen = {a.id: a for a in plan.exported if a.id in waiting and a.variant in able}
    known = {a.id for a in plan.actions}
    needed = {i for a in chosen.values() for i in a.before}
    more: list[Action] = []
    for action in reversed(plan.exported):
        if action.id in needed - known:
            more.insert(0, action)
            needed.update(action.before)
    first = next((i for i, a in enumerate(plan.actions) if a.id in chosen), 0)
    actions = [chosen.get(a.id, a) for a in plan.actions]
    actions[first:first] = more
    return replace(plan, actions=tuple(actions))


def road(plan: Plan, artifact: Artifact) -> Literal["pin", "export"] | None:
    """How a static variant is made: pinned from the dynamic model, or exported by itself. None where
    it is no variant, or nothing is made."""
    actions = plan.by_id
    if not artifact.axes or artifact.action not in actions:
        return None
    todo = [artifact.action]
    for name in todo:
        if isinstance(actions[name].step, Static):
            return "pin"
        todo += actions[name].needs.values()
    return "export"


def _with_own_references(plan: Plan, able: Collection[str], settled: Collection[str]) -> Plan:
    """With PyTorch run for each of these variants alone, in the place of the run at all sizes."""

    def own(action: Action) -> Action:
        if action.variant not in able or action.id in settled:
            return action
        mine = f"{REFERENCE} {action.variant}"
        needs = {role: mine if maker == REFERENCE else maker for role, maker in action.needs.items()}
        return replace(action, needs=needs, gates=tuple(mine if g == REFERENCE else g for g in action.gates))

    there = {a.variant for a in plan.actions}
    more = tuple(r for r in plan.references if r.variant in able and r.variant in there)
    at = 1 + max(i for i, a in enumerate(plan.actions) if a.id == REFERENCE)
    actions = (*plan.actions[:at], *more, *plan.actions[at:])
    return replace(plan, actions=tuple(map(own, actions)), exported=tuple(map(own, plan.exported)))


def _held_back(action: Action, fails: Collection[Sizes], settled: Collection[str]) -> Action:
    """An export at sizes that PyTorch is known to refuse is not even begun."""
    if isinstance(action.step, Export) and action.id not in settled and dict(action.step.traced) in fails:
        return replace(action, gates=(*action.gates, REFERENCE))
    return action


def _first_row(reference: Action) -> Sizes:
    assert isinstance(reference.step, Reference | AdoptedReference)
    return dict(reference.step.sampling.rows[0])
