"""All that is known of the recipes of a report: their manifests, and what is judged of them today.

None of the models' code is run. What a build does not measure, ranges, is measured here, if all that
it takes is in the cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from modelbuild.base.errors import Diagnostic, RecipeError, first_line
from modelbuild.base.results import GOOD, ArtifactResult, RecipeResult
from modelbuild.building import request as requests
from modelbuild.building.manifest import MANIFEST
from modelbuild.building.request import Request
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Reporter, Run, Silent
from modelbuild.building.standing import judged
from modelbuild.git import Repository
from modelbuild.inspection import published
from modelbuild.views.reporting import interfaces, measuring
from modelbuild.views.reporting.values import (
    Commit,
    Manifest,
    Said,
    ShownAction,
    ShownArtifact,
    ShownModel,
    ShownRanges,
    Standing,
    Status,
    said,
)

_BAD: tuple[Status, ...] = ("failed", "blocked")
_RANK = {"failed": 0, "stale": 1, "ok": 2}


def gather(request: Request, reporter: Reporter) -> list[ShownModel]:
    """The models of a request, those that failed first; without recipes, all that are in ``out``.

    Raises:
        RecipeError: a path names nothing, two recipes have one name, or nothing was built in ``out``.
    """
    published = _manifests(request.out)
    asked = list(request.recipes)
    if not asked:
        if not published:
            raise _nothing_built(request.out)
        named = {n: _recipe(m) for n, m in published.items()}
        asked = list(dict.fromkeys(p for n, p in named.items() if p and _makes(Path(p), n)))
    done: list[ShownModel] = []
    told: set[str] = set()
    if asked:
        recipes = requests.read(replace(request, recipes=asked))
        for model in _judged(request, recipes, published, reporter):
            done.append(model)
            told.add(model.name)
        for result in recipes.broken:
            done.append(_broken(result))
            told.update(n for n, m in published.items() if _recipe(m) == result.recipe)
    if not request.recipes:
        done += [_alone(name, m, request.out) for name, m in published.items() if name not in told]
    return sorted(done, key=lambda model: (_RANK[model.status], model.name))


def _judged(
    request: Request,
    recipes: requests.Loaded,
    published: Mapping[str, Manifest | str],
    reporter: Reporter,
) -> list[ShownModel]:
    store = request.store()
    runs = [
        Run(run.plan.with_ranges(), run.path, run.around, run.identity)
        for run in requests.runs(request, recipes, store)
    ]
    stands = judged(runs, request, store, Silent())
    measured = measuring.measured(runs, store, request.job_count(), reporter)
    commits: dict[Path, Commit | None] = {}
    models = []
    for run in runs:
        found = published.get(run.name)
        base = run.around.base
        if base not in commits:
            commits[base] = _commit(base)
        model = _model(run, stands.result(run), found, stands.judge, measured[run.identity])
        folder = request.out / run.name
        built = _written(folder) if isinstance(found, Manifest) else None
        recipe = run.plan.recipe
        interface = interfaces.published(folder, model.artifacts, recipe.axes()) or interfaces.asked(recipe)
        models.append(replace(model, built=built, commit=commits[base], interface=interface))
    return models


def _model(
    run: Run,
    now: RecipeResult,
    found: Manifest | str | None,
    judge: Judge,
    measured: Mapping[str, ShownRanges],
) -> ShownModel:
    """What the last build said of a recipe, and what of it still stands."""
    notes = []
    if found is None:
        notes.append("This recipe was not built yet: what follows is its plan.")
    elif isinstance(found, str):
        notes.append(found)
    manifest = found if isinstance(found, Manifest) else None
    was = {a.name: a for a in manifest.artifacts} if manifest else {}
    artifacts = [_artifact(a, was.get(a.name)) for a in now.artifacts]
    ran = {a.id: a for a in manifest.actions} if manifest else {}
    actions = [_action(run, a, ran.get(a)) for a in run.actions if run.actions[a].step.kind != "ranges"]
    if any(a.status == "stale" for a in artifacts) and manifest:
        notes.append(
            "What is marked stale is of the last build: it has changed since, or is not there any more."
        )
    last = judge.memory(run)
    facts = {
        a.id: {**judge.facts_of(run, run.actions[a.id]), **last.get(a.id, {}).get("discovered", {})}
        for a in actions
    }
    reasons = manifest.diagnostics if manifest else [said(d) for d in now.diagnostics]
    ranges = {p: _best(r, p, artifacts) for p, r in measured.items()}
    return ShownModel(
        run.name, run.path, _standing(artifacts, reasons), artifacts, actions, reasons,
        manifest.toolchain if manifest else {}, ranges, facts, notes,
    )  # fmt: skip


def _artifact(result: ArtifactResult, was: ShownArtifact | None) -> ShownArtifact:
    now = ShownArtifact.model_validate(result.as_json())
    if was is None:
        return now
    if was.status in _BAD and now.status not in GOOD:
        return was
    return was.model_copy(
        update={"status": _status(was.status, now.status), "reason": now.reason or was.reason}
    )


def _action(run: Run, action: str, was: ShownAction | None) -> ShownAction:
    ended = run.ended[action]
    made = ended.entry
    now = ShownAction(
        id=action, step=run.actions[action].step.kind, needs=dict(run.actions[action].needs),
        status=ended.status, reason=ended.reason, key=ended.key,
        seconds=made.seconds if made else 0.0, peak=made.peak if made else None,
    )  # fmt: skip
    if was is None:
        return now
    if was.status in _BAD and not ended.good:
        return was.model_copy(update={"needs": now.needs})
    return was.model_copy(
        update={"status": _status(was.status, now.status), "reason": now.reason, "needs": now.needs}
    )


def _status(was: Status, now: Status) -> Status:
    """What to show of something whose last build ended as ``was``, and that would now end as ``now``."""
    if now in GOOD and now != "remote":
        return was if was in ("built", "cached", "fetched") else "cached"
    return now


def _best(measured: ShownRanges, precision: str, artifacts: Iterable[ShownArtifact]) -> ShownRanges:
    """The ranges that were measured; or those that a failed proof left."""
    if measured.rows:
        return measured
    left = (a.ranges for a in artifacts if a.precision == precision and not a.axes and a.ranges)
    return ShownRanges(next(left, ()), measured.note)


def _standing(artifacts: Iterable[ShownArtifact], reasons: Iterable[Said]) -> Standing:
    states = {a.status for a in artifacts}
    if states & set(_BAD) or any(d.level == "error" for d in reasons):
        return "failed"
    return "stale" if "stale" in states else "ok"


def _broken(result: RecipeResult) -> ShownModel:
    return ShownModel(
        result.name, result.recipe, "failed", diagnostics=[said(d) for d in result.diagnostics],
        notes=["This recipe is wrong as it stands, so nothing of it can be judged."],
    )  # fmt: skip


def _alone(name: str, found: Manifest | str, out: Path) -> ShownModel:
    """What a manifest says whose recipe is not here."""
    if isinstance(found, str):
        return ShownModel(name, str(out / name), "failed", notes=[found])
    gone = "has another name now" if Path(found.recipe).is_file() else "is not here"
    note = f"Its recipe, {found.recipe}, {gone}: this is what the manifest of its last build says."
    ranges = {
        a.precision: ShownRanges(a.ranges or (), "Not measured: the recipe is not here.")
        for a in found.artifacts
        if a.kind == "onnx" and a.precision != "fp32" and not a.axes
    }
    return ShownModel(
        name, found.recipe, _standing(found.artifacts, found.diagnostics), found.artifacts, found.actions,
        found.diagnostics, found.toolchain, ranges, notes=[note], built=_written(out / name),
        interface=interfaces.published(out / name, found.artifacts),
    )  # fmt: skip


# ---- files -----------------------------------------------------------------------------------------


def _manifests(out: Path) -> dict[str, Manifest | str]:
    """By folder: the manifest, or why it cannot be read."""
    found: dict[str, Manifest | str] = {}
    for path in sorted(out.glob(f"*/{MANIFEST}")):
        try:
            manifest = Manifest.model_validate_json(published.content(path))
            found[path.parent.name] = manifest.model_copy(update={"name": path.parent.name})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(p) for p in first["loc"])
            found[path.parent.name] = _unreadable(path, f"{place}: {first['msg']}" if place else first["msg"])
        except OSError as error:
            found[path.parent.name] = _unreadable(path, first_line(error))
        except ValueError as error:
            found[path.parent.name] = _unreadable(path, str(error))
    return found


def _unreadable(path: Path, why: str) -> str:
    return f"{path} is not a manifest that can be read ({why}): build again."


def _recipe(found: Manifest | str) -> str | None:
    return found.recipe if isinstance(found, Manifest) else None


def _makes(recipe: Path, name: str) -> bool:
    """Whether the recipe is there and still has the name of the folder that names it; a wrong one counts."""
    if not recipe.is_file():
        return False
    found, _ = requests.checked(recipe)
    return found is None or found.name == name


def _written(folder: Path) -> float | None:
    with contextlib.suppress(OSError):
        return (folder / MANIFEST).stat().st_mtime
    return None


def _commit(folder: Path) -> Commit | None:
    """None where there is no git, or no repository with a commit."""
    with contextlib.suppress(RecipeError, OSError):
        repository = Repository.at(folder)
        head = repository.commit("HEAD")
        return Commit(head, len(repository.edits(head)))
    return None


def _nothing_built(out: Path) -> RecipeError:
    return RecipeError(
        Diagnostic(
            "recipe-invalid",
            f"nothing to report: {out} has no {MANIFEST} in a folder of it",
            "`modelbuild build` puts one there; `--out` names another folder, or name recipes",
        )
    )
