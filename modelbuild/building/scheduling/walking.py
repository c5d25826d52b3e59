"""How an action stands by what is recorded: all that a reader asks, and where the loop begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from modelbuild.base.errors import Diagnostic, ModelbuildError, Unreachable
from modelbuild.base.records import REFUSED
from modelbuild.base.results import GOOD
from modelbuild.building.scheduling import words
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Ended, Run, Status
from modelbuild.plan.actions import Action
from modelbuild.plan.freshness import Verdict
from modelbuild.store import Entry


def walk(run: Run, judge: Judge, engines_required: bool = False) -> Iterator[tuple[Action, Ended]]:
    """Judge every action of a run, and give each as it ends. Nothing runs: what would is ``stale``."""
    while not run.all_ended():
        for name in [a.id for a in run.waiting()]:
            action = run.actions[name]  # which may have another way meanwhile
            if run.is_ready(action):
                ended = _stands(run, action, judge, engines_required)
                run.ended[name] = ended
                yield action, ended


def _stands(run: Run, action: Action, judge: Judge, engines_required: bool) -> Ended:
    ended = without_looking(run, action, engines_required)
    if ended is not None:
        return ended
    stale = next((e for e in run.ended_before(action) if e.status == "stale"), None)
    if stale is not None:
        return Ended("stale", reason=stale.reason)
    known = looked_up(run, action, judge)
    judge.damaged.clear()  # a build sets it aside
    if isinstance(known, Verdict):
        return Ended("stale", reason=known.reason, changes=known.changes)
    return replace(known, status="remote") if known.status == "fetched" else known


def without_looking(run: Run, action: Action, engines_required: bool) -> Ended | None:
    """How an action ends for what became of those before it, or for what is not installed here. None if
    nothing of that is in its way."""
    states = [e.status for e in run.ended_before(action)]
    if any(s in ("failed", "blocked", "skipped") for s in states):
        skipped = all(s in (*GOOD, "stale", "skipped") for s in states)
        return Ended("skipped" if skipped else "blocked")
    if missing := action.step.missing():
        return words.without(missing, engines_required)
    return None


def looked_up(run: Run, action: Action, judge: Judge) -> Ended | Verdict:
    """How an action ends by what the ledger has of it, here or in the remote cache; a verdict where it has
    to run.

    Raises:
        Unreachable: the remote cache is required, and cannot be asked.
    """
    try:
        verdict = judge.verdict(run, action)
    except Unreachable:
        raise
    except ModelbuildError as error:
        return Ended("failed", diagnostics=error.diagnostics, data=error.data, exit_code=error.exit_code)
    if verdict.entry is None:
        return verdict
    if REFUSED in verdict.entry.data:
        log = judge.store.log_path(run.around.base, run.name, action.id)
        return around(run, action, words.refused(verdict.entry, log))
    origin = judge.origins.get(verdict.lookup_key)
    if origin is not None and origin.entry is verdict.entry:
        return replace(ended_with("fetched", verdict.entry), signed=origin)
    return ended_with("cached", verdict.entry)


def around(run: Run, action: Action, ended: Ended) -> Ended:
    """How an action that was refused ends: skipped, if no file needs it by another way now."""
    if not run.reroute(action.id, ended.data) or action.id in run.plan.needed():
        return ended
    return replace(ended, status="skipped", diagnostics=(), exit_code=0)


def ended_with(status: Status, entry: Entry) -> Ended:
    """The end of an action whose result this is, with what was said when it was made."""
    said = tuple(Diagnostic.from_json(dict(d)) for d in entry.diagnostics)
    return Ended(status, entry, diagnostics=said, data=entry.data)
