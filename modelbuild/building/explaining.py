"""What is fresh, what is stale and why: from recorded facts, without running the model's code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.escaping import line
from modelbuild.base.results import BuildResult
from modelbuild.building import request as requests
from modelbuild.building.request import Request
from modelbuild.building.scheduling.runs import Ended, Reporter
from modelbuild.building.standing import Standing, judged
from modelbuild.wording.phrases import did_you_mean


@dataclass(frozen=True)
class Because:
    """One action behind an artifact: ``changes`` are the facts of its own that moved, in words.

    ``facts`` are what its key is made of: what is known before it runs, and what it discovered
    when it last ran. ``key`` is the key of its result; None if there is none for these facts.
    ``wrong`` is what was found wrong with the model, if that still stands. ``signed`` are ``by`` and
    ``when``, the public key and the time, of a result that is in the remote cache and not here.
    """

    action: str
    status: str
    key: str | None
    changes: tuple[str, ...]
    facts: Mapping[str, Any]
    wrong: tuple[str, ...] = ()
    signed: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Why:
    """An artifact, whether it is fresh, and the actions that it comes from, in their order."""

    recipe: str
    artifact: str
    status: str
    reason: str | None
    actions: tuple[Because, ...]
    diagnostics: tuple[Diagnostic, ...] = ()  # of the remote cache

    def as_json(self) -> dict[str, Any]:
        told = [d.as_json() for d in self.diagnostics]
        return {"schema": 1, "ok": True, **asdict(self), "diagnostics": told}


def status(request: Request, reporter: Reporter) -> BuildResult:
    """Every artifact ``fresh`` or ``stale``, with the reason; nothing is built or written.

    Raises:
        RecipeError: a path or ``only`` names nothing, or two recipes have one name.
    """
    recipes = requests.loaded(request)
    stands = _judged(request, recipes, reporter)
    done = []
    for result in recipes.in_order(stands.results()):
        told = (replace(a, status="fresh") if a.status == "cached" else a for a in result.artifacts)
        done.append(replace(result, artifacts=tuple(told)))
    return BuildResult(tuple(done))


def why(artifact: str, request: Request, reporter: Reporter) -> Why:
    """What moved since the artifact was last built, and every fact of the keys behind it.

    Raises:
        RecipeError: a recipe is wrong, or none of them makes such an artifact.
    """
    recipes = requests.read(request)
    if recipes.broken:
        raise RecipeError([d for r in recipes.broken for d in r.diagnostics])
    asked = replace(request, only=None)
    everything = requests.runs(asked, recipes, asked.store())
    names = [a.name for r in everything for a in r.plan.artifacts]
    if artifact not in names:
        hint = did_you_mean(artifact, names, f"there are {', '.join(names)}", longest=300, most=10_000)
        raise RecipeError(Diagnostic("recipe-invalid", f"no recipe here makes `{line(artifact)}`", hint))
    found = _judged(replace(request, only=_literally(artifact)), recipes, reporter)
    (run,) = (r for r in found.runs if r.plan.artifacts)
    (told,) = found.result(run).artifacts
    last = found.judge.memory(run)
    rows = tuple(
        Because(
            action.id,
            _standing(run.ended[action.id]),
            run.ended[action.id].key,
            run.ended[action.id].changes,
            {**found.judge.facts_of(run, action), **last.get(action.id, {}).get("discovered", {})},
            tuple(d.message for d in run.ended[action.id].diagnostics if d.level == "error"),
            _signed(run.ended[action.id]),
        )
        for action in run.plan.actions
    )
    stands = "fresh" if told.status == "cached" else told.status
    remote = found.judge.remote
    return Why(run.path, artifact, stands, told.reason, rows, () if remote is None else remote.said())


def _standing(ended: Ended) -> str:
    return ended.status if not ended.good or ended.status == "remote" else "fresh"


def _signed(ended: Ended) -> dict[str, str] | None:
    return None if ended.signed is None else {"by": ended.signed.by, "when": ended.signed.when}


def _judged(request: Request, recipes: requests.Loaded, reporter: Reporter) -> Standing:
    store = request.store()
    return judged(requests.runs(request, recipes, store), request, store, reporter)


def _literally(name: str) -> str:
    """A glob that matches this name and nothing else."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
