"""``manifest.json``, beside a recipe's artifacts: what is read back, its actions and its versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from modelbuild.building.scheduling.runs import Run
from modelbuild.inspection.published import MANIFEST, read
from modelbuild.machine import toolchain
from modelbuild.trace import distributions

__all__ = ["MANIFEST", "Rows", "actions", "rows", "toolchain_of"]

Rows = Mapping[str, dict[str, Any]]


def rows(path: Path, part: str, name: str) -> Rows:
    """The rows of one part of a manifest, by the field ``name``; none if it cannot be read."""
    try:
        return {row[name]: row for row in read(path).get(part, ())}
    except (OSError, ValueError):
        return {}


def actions(run: Run, old: Rows, kept: Collection[str]) -> list[dict[str, Any]]:
    """What became of each action, and what it cost when it ran: seconds, and the resident bytes at its
    peak (None where it failed).

    Of ``old``, what stays is behind the artifacts in ``kept``, which this build was not about.
    """
    about = {a.action: a.name for a in run.plan.artifacts}
    about |= {a.proof: a.name for a in run.plan.artifacts if a.proof}
    found = {}
    for action in run.plan.actions:
        ended = run.ended.get(action.id)
        if ended is not None:
            entry = ended.entry
            found[action.id] = {
                "id": action.id,
                "step": action.step.kind,
                "artifact": about.get(action.id),
                "needs": dict(action.needs),
                "status": ended.status,
                "reason": ended.reason,
                "key": ended.key,
                "seconds": round(entry.seconds if entry else ended.seconds, 3),
                "peak": entry.peak if entry else None,
            }
            if "sources" in ended.data:  # the lines of the model, which no file of it holds
                found[action.id]["sources"] = ended.data["sources"]
    stays = [name for name, row in old.items() if row.get("artifact") in kept]
    for name in stays:
        stays += [n for n in old[name].get("needs", {}).values() if n in old and n not in stays]
    return [*found.values(), *(row for name, row in old.items() if name in stays and name not in found)]


def toolchain_of(run: Run) -> dict[str, str | None]:
    """The versions of what decides the bytes of a recipe's artifacts."""
    names = {n for a in run.plan.actions for n in a.step.uses()}
    versions = {name.replace("_", "-"): distributions.standing(name) for name in sorted(names)}
    return {**toolchain.platform_facts(), **versions}
