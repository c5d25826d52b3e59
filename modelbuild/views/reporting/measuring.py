"""The ranges of half precision tensors: measured once, then in the cache like any other result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from modelbuild.building.answering import SourceLines
from modelbuild.building.scheduling.runs import Ended, Nowhere, Options, Reporter, Run
from modelbuild.building.scheduling.scheduler import Scheduler
from modelbuild.graph import sources
from modelbuild.plan.actions import Action
from modelbuild.steps.ranges import Ranges as Measuring
from modelbuild.store import Store
from modelbuild.views.reporting.values import ShownRange, ShownRanges

_UNBUILT = "Not measured: what it takes was not built, or is not in the cache any more."


def measured(
    runs: Sequence[Run], store: Store, jobs: int, reporter: Reporter
) -> Mapping[str, Mapping[str, ShownRanges]]:
    """By recipe and precision, for runs that were judged and whose plans ask for ranges."""
    todo = [made for run in runs if (made := _todo(run, store)) is not None]
    trouble = None
    if todo:
        try:
            Scheduler(todo, store, Options(jobs), reporter, Nowhere()).run()
        except OSError as error:  # nothing can be written into this cache
            trouble = f"Not measured: {error.strerror or error}."
        finally:
            store.close()
    now = {run.identity: run.ended for run in todo}
    return {
        run.identity: {
            _of(action).precision: _told(
                run, action, now.get(run.identity, {}).get(action.id, run.ended[action.id]), trouble
            )
            for action in _asked(run)
        }
        for run in runs
    }


def _asked(run: Run) -> list[Action]:
    return [a for a in run.plan.actions if isinstance(a.step, Measuring)]


def _of(action: Action) -> Measuring:
    assert isinstance(action.step, Measuring)
    return action.step


def _todo(run: Run, store: Store) -> Run | None:
    """A run of what is not measured yet and can be without making anything else, and of its needs."""
    found = [
        action
        for action in _asked(run)
        if not run.ended[action.id].good and all(_is_whole(run.ended[n], store) for n in action.before)
    ]
    needed = {action.id for action in found}
    for action in reversed(run.plan.actions):
        if action.id in needed:
            needed.update(action.before)
    if not found or not all(run.ended[i].good for i in needed - {a.id for a in found}):
        return None
    actions = tuple(a for a in run.plan.actions if a.id in needed)
    return Run(replace(run.plan, actions=actions, artifacts=()), run.path, run.around, run.identity)


def _is_whole(ended: Ended, store: Store) -> bool:
    """Whether a result can be read as it is: a damaged one would be made again, with the model."""
    return ended.good and ended.tree is not None and store.intact(ended.tree)


def _told(run: Run, action: Action, ended: Ended, trouble: str | None) -> ShownRanges:
    if not ended.good:
        words = "; ".join(d.message for d in ended.diagnostics)
        return ShownRanges(note=f"Not measured: {words}" if words else trouble or _UNBUILT)
    (artifact,) = (a for a in run.plan.artifacts if a.name == _of(action).filename)
    rows = sources.located(ended.data.get("ranges", []), SourceLines(run).of(artifact)) or []
    return ShownRanges([ShownRange(**row) for row in rows])
