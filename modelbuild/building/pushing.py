"""What a push sends up of some recipes: the stored result of every action that has one, found by a walk.

Nothing runs, and nothing is written but into the remote. A failure is not pushed: it may be of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild.base.catalogue import EXIT_OK, EXIT_STEP_FAILED, Exit
from modelbuild.base.errors import RecipeError
from modelbuild.base.keys import digest
from modelbuild.base.records import FAILED
from modelbuild.building import request as requests
from modelbuild.building.request import Request
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Run
from modelbuild.building.scheduling.walking import walk
from modelbuild.plan.actions import Action
from modelbuild.remote.configured import Remote
from modelbuild.remote.pushing import Pushed, Pusher, StoredResult
from modelbuild.remote.signing import Signer
from modelbuild.store import Entry, Store


@dataclass(frozen=True)
class PushedRecipe:
    """What was sent of a recipe. ``stale`` are the actions without a stored result, each with the reason."""

    recipe: str
    name: str
    results: int
    pushed: Pushed
    stale: tuple[tuple[str, str], ...]

    @property
    def ok(self) -> bool:
        """Whether something of it was there to be sent, and all of it was whole."""
        return self.results > 0 and not self.pushed.damaged

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "name": self.name,
            "status": "ok" if self.ok else "failed",
            "results": self.results,
            **self.pushed.as_json(),
            "stale": [{"action": action, "reason": reason} for action, reason in self.stale],
        }


def push(
    request: Request,
    remote: Remote,
    signer: Signer,
    published_only: bool,
    told: Callable[[PushedRecipe], None],
) -> list[PushedRecipe]:
    """Send up what the last builds of these recipes have made; ``told`` hears of each when it is done.

    With ``published_only`` the files of what is neither published nor a proof of it stay here.

    Raises:
        RecipeError: a path names nothing, or a recipe is wrong.
        Off: the remote cannot be reached, or does not take it.
    """
    recipes = requests.read(request)
    if recipes.broken:
        raise RecipeError([d for result in recipes.broken for d in result.diagnostics])
    store = request.store()
    pusher = Pusher(store, remote, signer, published_only)
    done = []
    for run in requests.runs(request, recipes, store):
        results, stale = stored(run, store)
        done.append(PushedRecipe(run.path, run.name, len(results), pusher.push(results), stale))
        told(done[-1])
    return done


def exit_code(done: Sequence[PushedRecipe]) -> Exit:
    return EXIT_OK if all(recipe.ok for recipe in done) else EXIT_STEP_FAILED


def stored(run: Run, store: Store) -> tuple[list[StoredResult], tuple[tuple[str, str], ...]]:
    """The results that the ledger has for the actions of a run; and those that have none, with the reason."""
    judge = Judge(store, store.folder)
    published = {name for artifact in run.plan.artifacts for name in artifact.needed}
    results: list[StoredResult] = []
    stale: list[tuple[str, str]] = []
    for action, ended in walk(run, judge):
        if ended.status == "stale":
            stale.append((action.id, ended.reason or "never built"))
        if action.remembered and judge.facts_of(run, action):  # else nobody knows its key: see its reason
            results += _of_action(run, action, judge, ended.entry, action.id in published)
    return results, tuple(stale)


def _of_action(
    run: Run, action: Action, judge: Judge, entry: Entry | None, published: bool
) -> Iterator[StoredResult]:
    kind = action.step.kind
    if entry is not None:
        yield StoredResult(digest(judge.facts_of(run, action)), kind, entry, published)
    measured = judge.measured(run, action)
    if measured is not None and FAILED not in measured.data:
        yield StoredResult(digest(measured.facts), kind, measured, published)
