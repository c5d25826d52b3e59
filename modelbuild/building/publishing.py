"""Proven files to where users look for them, and what to say of each: results and manifest."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelbuild.base.catalogue import EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic, first_line
from modelbuild.base.results import GOOD, ArtifactResult, RecipeResult
from modelbuild.building import leftovers
from modelbuild.building.manifest import MANIFEST, Rows, actions, rows
from modelbuild.building.scheduling.repeats import repeated
from modelbuild.building.scheduling.runs import Ended, Run
from modelbuild.graph import sources
from modelbuild.lockfile import Lock, mismatch
from modelbuild.machine import toolchain
from modelbuild.plan.actions import Artifact, plan
from modelbuild.plan.rerouting import road
from modelbuild.store import Store, Tree, hash_file, publish_all, write_atomically
from modelbuild.trace import distributions


@dataclass
class Publisher:
    """Puts proven files where users look for them, and writes down what is there."""

    store: Store
    out: Path
    dry_run: bool = False
    measure: bool = False
    locked: Mapping[str, Lock] = field(default_factory=dict)  # by recipe: what may be published
    republished: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: dict[tuple[str, str], Diagnostic] = field(default_factory=dict)

    def publish(self, run: Run, artifact: Artifact) -> bool:
        """Copy the artifact out of the store, if it is proven and not there already.

        False if the store's bytes are not what was proven: nothing is published.
        """
        tree = run.ended[artifact.action].tree
        if self.measure or tree is None or not _good(run, artifact):
            return True
        if run.path in self.locked:
            files = {name: file.sha256 for name, file in tree.files.items()}
            key = run.ended[artifact.action].key
            if (other := mismatch(self.locked[run.path], artifact.name, files, key)) is not None:
                self.problems[run.path, artifact.name] = Diagnostic(
                    "lock-mismatch",
                    f"not published: {other}",
                    "what moved is told with the lock file; `modelbuild build --lock` writes a new one",
                )
                return True
        target = self.out / run.name
        try:
            why = _missing(target, artifact, tree)
            if why is None:
                return True
            self.republished[run.path, artifact.name] = why
            if self.dry_run:
                return True
            folder = self.store.folder(tree)
            # What was made just now was hashed just now; what was found may have rotted.
            made = run.ended[artifact.action].status == "built"
            if folder is None or not (made or self.store.intact(tree)):
                return False
            names = _files(artifact, tree)
            publish_all([(folder / name, target / name) for name in names])
        except OSError as error:
            self.problems[run.path, artifact.name] = Diagnostic(
                "publish-failed",
                f"{artifact.name} cannot be written to {target}: {first_line(error)}",
                "check the folder and the disk; the proven file is in the cache",
            )
        return True

    def result(self, run: Run) -> RecipeResult:
        again = repeated(run.ended)
        lines = SourceLines(run)
        artifacts = tuple(self._artifact(run, a, again, lines) for a in run.plan.artifacts)
        told = again.union(*run.plan.owned.values())
        shared = [
            d for a in run.plan.actions if a.id not in told and a.id in run.ended
            for d in run.ended[a.id].said()
        ]  # fmt: skip
        codes = [e.exit_code for e in run.ended.values()]
        codes += [EXIT_STEP_FAILED for p in self.problems if p[0] == run.path]
        code = max(codes, default=0)
        return RecipeResult(
            run.path,
            run.name,
            "failed" if code else "ok",
            (*run.host_diagnostics, *shared, *_exported(run, artifacts)),
            artifacts,
            code,
        )

    def _artifact(
        self, run: Run, artifact: Artifact, again: Collection[str], source: SourceLines
    ) -> ArtifactResult:
        """``again`` are the actions whose failure is told elsewhere."""
        ended = {i: run.ended[i] for i in run.plan.owned[artifact.name] if i in run.ended}
        made = run.ended.get(artifact.action)
        proof = run.ended.get(artifact.proof) if artifact.proof else None
        status = self._status(run, artifact)
        said = [d for i, e in ended.items() if i not in again for d in e.said()]
        problem = self.problems.get((run.path, artifact.name))
        if problem is not None:
            status, said = "failed", [*said, problem]
        export = source.export(artifact)
        lines = source.of(artifact)
        ranges = sources.located(_measured("ranges", made, proof), lines)
        said = [sources.told(d, lines, ranges) for d in said]
        if status in GOOD and artifact.kind == "engine" and proof is None:
            said.append(
                Diagnostic(
                    "engine-unproven",
                    "built, and not run: no GPU here that it is for; the ONNX file it comes from is proven",
                    "run `modelbuild verify` on a machine with such a GPU",
                    level="info",
                )
            )
        base = ArtifactResult(
            artifact.name, artifact.kind, artifact.precision, dict(artifact.axes), status,
            reason=self._reason(run, artifact, status),
            key=made.key if made else None,
            seconds=sum(run.ended[i].seconds for i in (artifact.action, artifact.proof)
                        if i and i in run.ended),
            parity=_measured("parity", made, proof),
            conversion=made.data.get("conversion") if made else None,
            ranges=ranges,
            static_by=road(run.plan, artifact),
            not_proven=export.data.get("not_proven", ()) if export is not None else (),
            diagnostics=tuple(said),
        )  # fmt: skip
        place = self.out / run.name / artifact.name
        if self.measure and place.is_file():
            file = hash_file(place)
            return replace(base, path=str(place), sha256=file.sha256, bytes=file.bytes)
        if status not in GOOD or made is None or made.tree is None:
            return base
        file = made.tree.files[artifact.name]
        return replace(
            base,
            path=str(place),
            sha256=file.sha256,
            bytes=sum(f.bytes for f in made.tree.files.values()),
        )

    def _status(self, run: Run, artifact: Artifact) -> str:
        chain = [i for i in (artifact.action, artifact.proof) if i]
        states = [run.ended[i].status if i in run.ended else "blocked" for i in chain]
        if self.measure:
            return "built" if states[-1] in GOOD else states[-1]
        owned = [run.ended[i].status for i in run.plan.owned[artifact.name] if i in run.ended]
        if "failed" in owned:
            return "failed"
        if "blocked" in states:
            return "blocked"
        if "skipped" in states:
            return "skipped"
        if "stale" in states or (self.dry_run and (run.path, artifact.name) in self.republished):
            return "stale"
        return states[0]

    def _reason(self, run: Run, artifact: Artifact, status: str) -> str | None:
        made = run.ended.get(artifact.action)
        proof = run.ended.get(artifact.proof) if artifact.proof else None
        if made is not None and made.reason:
            return made.reason
        if self.measure:
            return None
        if proof is not None and proof.reason:
            return f"{'to prove' if status == 'stale' else 'proven'} again: {proof.reason}"
        return self.republished.get((run.path, artifact.name)) if status in ("cached", "stale") else None

    def with_manifest(self, run: Run, result: RecipeResult) -> RecipeResult:
        """Write down what is published now; where that cannot be, the recipe has failed.

        A failed artifact keeps the entry of the good file that stays.
        """
        folder = self.out / run.name
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
        refused = any(p[0] == run.path and d.code == "publish-failed" for p, d in self.problems.items())
        if refused and not folder.is_dir():
            return result  # it is told of each artifact already
        try:
            write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
        except OSError as error:
            if self._stands(run, result, old):
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

    def _stands(self, run: Run, result: RecipeResult, old: Rows) -> bool:
        """Whether the manifest that is there says what is published, as this build has changed nothing."""
        again = any(path == run.path for path, _ in self.republished)
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


def _measured(what: str, made: Ended | None, proof: Ended | None) -> Any:
    """What the proof measured, or what was measured before there was a file to prove."""
    of = proof if proof is not None and what in proof.data else made
    return of.data.get(what) if of is not None else None


class SourceLines:
    """Of a run's artifacts: the export that each comes from, and the lines that its nodes come from."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._known: dict[str, dict[str, str]] = {}

    def of(self, artifact: Artifact) -> dict[str, str]:
        """Node -> line of the model's source."""
        export = self._exporting(artifact.action)
        if export is None:
            return {}
        if export not in self._known:  # of a graph that a thousand variants may share
            self._known[export] = sources.lines(self.run.ended[export].data["sources"])
        return self._known[export]

    def export(self, artifact: Artifact) -> Ended | None:
        """How the export ended, if it is from PyTorch and came to an end."""
        action = self._exporting(artifact.action)
        return self.run.ended[action] if action is not None else None

    def _exporting(self, action: str) -> str | None:
        todo = [action]
        for one in todo:
            ended = self.run.ended.get(one)
            if ended is not None and "sources" in ended.data:
                return one
            known = self.run.plan.by_id.get(one)
            todo += known.needs.values() if known is not None else ()
        return None


def _exported(run: Run, artifacts: Sequence[ArtifactResult]) -> tuple[Diagnostic, ...]:
    """A word on variants that were made in another way than is usual."""
    recipe = run.plan.recipe
    names = [
        recipe.variant_suffix(a.axes)
        for a in artifacts
        if a.static_by == "export" and a.status in (*GOOD, "stale")
    ]
    if recipe.static_by == "export" or not names:
        return ()
    return (
        Diagnostic(
            "variants-exported",
            "the dynamic model is refused, so that these static variants are exported from PyTorch, each at "
            f"its own sizes: {', '.join(dict.fromkeys(names))}",
            "`static_by: export` asks for that in any case",
            level="info",
        ),
    )


def _good(run: Run, artifact: Artifact) -> bool:
    needed = [i for i in (artifact.action, artifact.proof) if i]
    return all(i in run.ended and run.ended[i].status in GOOD for i in needed)


def _files(artifact: Artifact, tree: Tree) -> list[str]:
    """What is published of an object: the artifact and what it names, which comes first."""
    return [name for name in (f"{artifact.name}.data", artifact.name) if name in tree.files]


def _missing(target: Path, artifact: Artifact, tree: Tree) -> str | None:
    """Why what users find there is not this object's files; None if it is."""
    for name in _files(artifact, tree):
        place, file = target / name, tree.files[name]
        if not place.is_file():
            return "its file was missing"
        if place.stat().st_size != file.bytes or hash_file(place) != file:
            return "its file was changed"
    return None


def toolchain_of(run: Run) -> dict[str, str | None]:
    """The versions of what decides the bytes of a recipe's artifacts."""
    names = {n for a in run.plan.actions for n in a.step.uses()}
    versions = {name.replace("_", "-"): distributions.standing(name) for name in sorted(names)}
    return {**toolchain.platform_facts(), **versions}
