"""After a build: the manifest, which says what is published now, and the files that it names no more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from modelbuild.base.catalogue import EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import GOOD, ArtifactResult, RecipeResult
from modelbuild.building import leftovers
from modelbuild.building.answering import Delivery
from modelbuild.building.manifest import MANIFEST, Rows, actions, rows, toolchain_of
from modelbuild.building.scheduling.runs import Run
from modelbuild.machine import toolchain
from modelbuild.plan.planning import plan
from modelbuild.store import write_atomically


def listed(run: Run, result: RecipeResult, out: Path, delivery: Delivery) -> RecipeResult:
    """Write down what is published now; where that cannot be, the recipe has failed.

    A failed artifact keeps the entry of the good file that stays. ``delivery`` is of who published.
    """
    folder = out / run.name
    old = rows(folder / MANIFEST, "artifacts", "name")
    gone = _gone(run, result, old)
    cleared = leftovers.cleared(folder, old, gone)
    result = replace(result, diagnostics=(*result.diagnostics, *cleared))
    entries = []
    for artifact in result.artifacts:
        entry = artifact.as_json() | _origin(run, artifact)
        if artifact.status not in GOOD and artifact.name in old and artifact.name not in gone:
            entry["published"] = old[artifact.name].get("published", old[artifact.name])
        entries.append(entry)
    known = {a.name for a in result.artifacts}
    kept = [n for n in old if n not in known and n not in gone and (folder / n).is_file()]
    entries += [old[n] for n in kept]
    manifest = {**result.as_json(), "schema": 1, "artifacts": entries}
    manifest["toolchain"] = {**toolchain.versions(["modelbuild"]), **toolchain_of(run)}
    manifest["actions"] = actions(run, rows(folder / MANIFEST, "actions", "id"), kept)
    refused = any(p[0] == run.path and d.code == "publish-failed" for p, d in delivery.problems.items())
    if refused and not folder.is_dir():
        return result  # it is told of each artifact already
    try:
        write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    except OSError as error:
        if _stands(run, result, old, delivery):
            return result
        said = Diagnostic(
            "publish-failed",
            f"{MANIFEST} cannot be written to {folder}: {error.strerror}",
            "check the folder and the disk",
        )
        code = result.exit_code or EXIT_STEP_FAILED
        told = (*result.diagnostics, said)
        return replace(result, status="failed", exit_code=code, diagnostics=told)
    return result


def _stands(run: Run, result: RecipeResult, old: Rows, delivery: Delivery) -> bool:
    """Whether the manifest that is there says what is published, as this build has changed nothing."""
    again = any(path == run.path for path, _ in delivery.moved)
    return not again and all(
        a.status == "skipped"
        or (
            a.status == "cached"
            and (a.key, a.sha256) == tuple(map(old.get(a.name, {}).get, ("key", "sha256")))
        )
        for a in result.artifacts
    )


def _gone(run: Run, result: RecipeResult, old: Rows) -> dict[str, str]:
    """Which files of earlier builds are not to be offered any more, and why."""
    names = {a.name for a in result.artifacts}
    if not names.issuperset(old):  # ``--only`` leaves out what the recipe asks for all the same
        names = {a.name for a in plan(run.plan.recipe).artifacts}
    gone = {name: "the recipe does not ask for it any more" for name in old if name not in names}
    for artifact in result.artifacts:
        if artifact.status == "skipped" and artifact.name in old:
            row = old[artifact.name]
            then = row.get("published", row).get("from")
            now = _origin(run, artifact).get("from")
            if then is not None and now is not None and then != now:
                gone[artifact.name] = "it is of an older model, and cannot be built here"
    return gone


def _origin(run: Run, result: ArtifactResult) -> dict[str, str]:
    """What an engine was built from, or would be: the digest of the ONNX file's object."""
    if result.kind != "engine":
        return {}
    action = next(run.actions[a.action] for a in run.plan.artifacts if a.name == result.name)
    ended = run.ended.get(action.needs["model"])
    return {"from": ended.tree.digest} if ended is not None and ended.tree is not None else {}
