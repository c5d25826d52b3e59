"""From recipes to results: plan, schedule, publish, sum up. The functions behind the commands."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelbuild import cores, sources, state, toolchain, writing_back
from modelbuild.errors import EXIT_STEP_FAILED, EXIT_USAGE, Diagnostic, RecipeError, first_line
from modelbuild.plan import Artifact, Plan, plan
from modelbuild.recipe.finding import find
from modelbuild.recipe.loading import load
from modelbuild.recipe.schema import Recipe
from modelbuild.results import ArtifactResult, BuildResult, RecipeResult
from modelbuild.scheduler import GOOD, Ended, Options, Reporter, Run, Scheduler
from modelbuild.store import Store, Tree, hash_file, publish, write_atomically
from modelbuild.worker.jobs import Surroundings

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    recipes: Sequence[str]
    out: Path = Path("build")
    cache: Path | None = None
    jobs: int = 0  # 0: as many as there are cores
    keep_going: bool = False
    dry_run: bool = False
    force: bool = False
    only: str | None = None
    require_engines: bool = False
    measure: bool = False  # verify: compare the published files again, build nothing
    write_back: bool = False  # put the nodes that a search kept in fp32 into the recipe

    def job_count(self) -> int:
        return self.jobs or cores.available()


def build(request: Request, reporter: Reporter) -> BuildResult:
    """Build (or with ``dry_run`` judge, or with ``measure`` compare) every recipe.

    Without ``keep_going`` a recipe that is wrong stops all of them before anything is built; with
    it the others are built. A step that fails never stops what does not need it.

    Raises:
        RecipeError: a path or ``only`` names nothing, or two recipes have one name.
    """
    started = state.now()
    texts = writing_back.loaded(_paths(request)) if request.write_back else {}
    loaded, broken = _load(request)
    if broken and not request.keep_going:
        return BuildResult(tuple(broken))
    cache = (request.cache or state.default_root()).absolute()
    store = Store(cache)
    out = request.out
    device = toolchain.gpu() if any(r.engines for _, r in loaded) else None
    gpu = device.target if device else None
    runs = []
    unpublished: set[str] = set()
    for path, recipe in loaded:
        todo = plan(recipe, gpu=gpu)
        if request.only:
            todo = todo.only(lambda a: fnmatch.fnmatch(a.name, str(request.only)))
        if request.measure:
            todo = todo.measuring((out / recipe.name).absolute())
            absent = {a.name for a in todo.artifacts if not (out / recipe.name / a.name).is_file()}
            todo = todo.only(lambda a, absent=absent: a.name not in absent)  # type: ignore[misc]
            unpublished |= absent
        base = path.absolute().parent
        around = Surroundings(base, Path.cwd(), cache, out.absolute())
        runs.append(Run(todo, str(path), around, str(path.absolute())))
    if unpublished and not any(r.plan.artifacts for r in runs):
        raise _nothing_to_measure(out, sorted(unpublished))
    if request.only and not any(r.plan.artifacts for r in runs):
        raise _nothing_matches(request, [plan(r) for _, r in loaded])
    publisher = _Publisher(store, request)
    options = Options(request.job_count(), request.dry_run, request.force, request.require_engines)
    scheduler = Scheduler(runs, store, options, reporter, publisher.publish)
    interrupted = False
    try:
        scheduler.run()
    except KeyboardInterrupt:
        interrupted = True
    if not request.dry_run and not request.measure:
        scheduler.remember()
    done = [publisher.result(run) for run in runs]
    if interrupted:
        done = [
            r if run.all_ended() else replace(r, status="failed") for run, r in zip(runs, done, strict=True)
        ]
    if not request.dry_run and not request.measure and not interrupted:
        for run, result in zip(runs, done, strict=True):
            publisher.write_manifest(run, result)
            if not request.only:
                _keep(cache, run, result, out, started)
    if request.write_back and not interrupted:
        recipes = {str(path): recipe for path, recipe in loaded}
        done = [writing_back.written_back(recipes[r.recipe], r, texts) for r in done]
    order = {str(p): i for i, p in enumerate(_paths(request))}
    everything = sorted([*done, *broken], key=lambda r: order.get(r.recipe, 0))
    return BuildResult(tuple(everything), interrupted)


def _keep(cache: Path, run: Run, result: RecipeResult, out: Path, started: int) -> None:
    """Let the next build answer from stat rows, if this one left nothing to do."""
    if result.exit_code or not all(a.status in (*GOOD, "skipped") for a in result.artifacts):
        return
    base = run.around.base
    names = {n for e in run.ended.values() for n in e.data.get("discovered", {})}
    read = {str(base / n.removeprefix("file ")) for n in names if n.startswith("file ")}
    read |= {str(Path(p).parent) for p in read} | {run.path, str(base), str(run.around.cwd)}
    cached = [
        replace(a, status="cached", reason=None, seconds=0.0) if a.status in GOOD else a
        for a in result.artifacts
    ]
    written = [a.path for a in result.artifacts if a.path]
    written += [p + ".data" for p in written]
    answer = replace(result, artifacts=tuple(cached)).as_json()
    state.keep(cache, run.path, out, answer, read, [*written, str(out / run.name / MANIFEST)], started)


def check(arguments: Sequence[str]) -> BuildResult:
    """Everything that can be wrong without running the model's code."""
    found = [_checked(path) for path in find(arguments)]
    return BuildResult(tuple(r for _, r in found))


def _load(request: Request) -> tuple[list[tuple[Path, Recipe]], list[RecipeResult]]:
    good, broken = [], []
    for path in _paths(request):
        recipe, result = _checked(path)
        if recipe is None:
            broken.append(result)
        else:
            good.append((path, recipe))
    names: dict[str, Path] = {}
    for path, recipe in good:
        if recipe.name in names:
            raise RecipeError(
                Diagnostic(
                    "recipe-invalid",
                    f"{path} and {names[recipe.name]} both have the name `{recipe.name}`, "
                    "and would write into one folder",
                    "give one of them another `name`",
                )
            )
        names[recipe.name] = path
    return good, broken


def _paths(request: Request) -> list[Path]:
    return find(request.recipes)


def _checked(path: Path) -> tuple[Recipe | None, RecipeResult]:
    try:
        recipe = load(path)
    except RecipeError as error:
        result = RecipeResult(str(path), path.stem, "failed", error.diagnostics, exit_code=EXIT_USAGE)
        return None, result
    return recipe, RecipeResult(str(path), recipe.name, "ok")


def _nothing_matches(request: Request, plans: Iterable[Plan]) -> RecipeError:
    names = ", ".join(a.name for p in plans for a in p.artifacts)
    return RecipeError(
        Diagnostic("recipe-invalid", f"no artifact matches `{request.only}`", f"there are {names}")
    )


def _nothing_to_measure(out: Path, names: Sequence[str]) -> RecipeError:
    more = f" or any of {len(names) - 1} more" if len(names) > 1 else ""
    return RecipeError(
        Diagnostic(
            "recipe-invalid",
            f"nothing to verify: {out} has no {names[0]}{more}",
            "`modelbuild build` puts them there; `--out` names another folder",
        )
    )


@dataclass
class _Publisher:
    """Puts proven files where users look for them, and writes down what is there."""

    store: Store
    request: Request
    republished: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: dict[tuple[str, str], Diagnostic] = field(default_factory=dict)

    def publish(self, run: Run, artifact: Artifact) -> None:
        """Copy the artifact out of the store, if it is proven and not there already."""
        if self.request.dry_run or self.request.measure or not _good(run, artifact):
            return
        tree = run.ended[artifact.action].tree
        folder = self.store.folder(tree) if tree is not None else None
        if tree is None or folder is None:
            return
        target = self.request.out / run.name
        try:
            for name, file in sorted(tree.files.items(), reverse=True):  # .data before its .onnx
                place = target / name
                if not place.is_file():
                    self.republished[run.path, artifact.name] = "its file was missing"
                elif not _unchanged(place, file.bytes, file.sha256):
                    self.republished[run.path, artifact.name] = "its file was changed"
                else:
                    continue
                # What was made just now was hashed just now; what was found may have rotted.
                if run.ended[artifact.action].status == "cached" and not self.store.intact(tree):
                    self._set_aside(run, artifact, tree)
                    return
                publish(folder / name, place)
        except OSError as error:
            self.problems[run.path, artifact.name] = Diagnostic(
                "publish-failed",
                f"{artifact.name} cannot be written to {target}: {first_line(error)}",
                "check the folder and the disk; the proven file is in the cache",
            )

    def _set_aside(self, run: Run, artifact: Artifact, tree: Tree) -> None:
        self.store.set_aside(tree.digest)
        self.problems[run.path, artifact.name] = Diagnostic(
            "cache-corrupt",
            f"{artifact.name} has other bytes in the cache than were proven; it was set aside",
            "build again: it is made anew; look at the disk if this comes back",
        )

    def result(self, run: Run) -> RecipeResult:
        artifacts = tuple(self._artifact(run, a) for a in run.plan.artifacts)
        own = {i for a in run.plan.artifacts for i in _owned(run.plan, a)}
        shared = [
            d for a in run.plan.actions if a.id not in own and a.id in run.ended
            for d in run.ended[a.id].diagnostics
        ]  # fmt: skip
        codes = [e.exit_code for e in run.ended.values()]
        codes += [EXIT_STEP_FAILED for p in self.problems if p[0] == run.path]
        code = max(codes, default=0)
        return RecipeResult(
            run.path,
            run.name,
            "failed" if code else "ok",
            (*run.host_diagnostics, *shared),
            artifacts,
            code,
        )

    def _artifact(self, run: Run, artifact: Artifact) -> ArtifactResult:
        owned = _owned(run.plan, artifact)
        ended = {i: run.ended[i] for i in owned if i in run.ended}
        made = run.ended.get(artifact.action)
        proof = run.ended.get(artifact.proof) if artifact.proof else None
        status = self._status(run, artifact)
        said = [d for e in ended.values() for d in e.diagnostics]
        problem = self.problems.get((run.path, artifact.name))
        if problem is not None:
            status, said = "failed", [*said, problem]
        lines = _lines(run, artifact)
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
            diagnostics=tuple(said),
        )  # fmt: skip
        place = self.request.out / run.name / artifact.name
        if self.request.measure and place.is_file():
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
        if self.request.measure:
            return "built" if states[-1] in GOOD else states[-1]
        owned = [run.ended[i].status for i in _owned(run.plan, artifact) if i in run.ended]
        if "failed" in owned:
            return "failed"
        if "blocked" in states:
            return "blocked"
        if "skipped" in states:
            return "skipped"
        if "stale" in states:
            return "stale"
        return states[0]

    def _reason(self, run: Run, artifact: Artifact, status: str) -> str | None:
        made = run.ended.get(artifact.action)
        proof = run.ended.get(artifact.proof) if artifact.proof else None
        if made is not None and made.reason:
            return made.reason
        if self.request.measure:
            return None
        if proof is not None and proof.reason:
            return f"proven again: {proof.reason}"
        return self.republished.get((run.path, artifact.name)) if status == "cached" else None

    def write_manifest(self, run: Run, result: RecipeResult) -> None:
        """What is published now. A failed artifact keeps the entry of the good file that stays."""
        folder = self.request.out / run.name
        old = _manifest_entries(folder / MANIFEST)
        entries = []
        for artifact in result.artifacts:
            entry = artifact.as_json()
            if artifact.status not in GOOD and artifact.name in old:
                entry["published"] = old[artifact.name].get("published", old[artifact.name])
            entries.append(entry)
        known = {a.name for a in result.artifacts}
        entries += [e for n, e in old.items() if n not in known and (folder / n).is_file()]
        manifest = {**result.as_json(), "schema": 1, "artifacts": entries}
        manifest["toolchain"] = _toolchain(run)
        if folder.is_dir() or any(a.status in GOOD for a in result.artifacts):
            write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def _measured(what: str, made: Ended | None, proof: Ended | None) -> Any:
    """What the proof measured, or what was measured before there was a file to prove."""
    of = proof if proof is not None and what in proof.data else made
    return of.data.get(what) if of is not None else None


def _lines(run: Run, artifact: Artifact) -> dict[str, str]:
    """Node -> line of the model's source, of the export that the artifact comes from."""
    needs = {a.id: a.needs for a in run.plan.actions}
    todo = [artifact.action]
    for action in todo:
        ended = run.ended.get(action)
        if ended is not None and "sources" in ended.data:
            return sources.lines(ended.data["sources"])
        todo += needs.get(action, {}).values()
    return {}


def _good(run: Run, artifact: Artifact) -> bool:
    needed = [i for i in (artifact.action, artifact.proof) if i]
    return all(i in run.ended and run.ended[i].status in GOOD for i in needed)


def _owned(plan: Plan, artifact: Artifact) -> list[str]:
    """The actions whose trouble is this artifact's: what it needs and no earlier artifact does."""
    taken: set[str] = {"reference"}
    for other in plan.artifacts:
        needed = {a.id for a in plan.only(lambda a, n=other.name: a.name == n).actions}  # type: ignore[misc]
        if other.name == artifact.name:
            return [a.id for a in plan.actions if a.id in needed - taken]
        taken |= needed
    return []


def _unchanged(place: Path, size: int, sha256: str) -> bool:
    return place.stat().st_size == size and hash_file(place).sha256 == sha256


def _manifest_entries(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())["artifacts"]
        return {e["name"]: e for e in found}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _toolchain(run: Run) -> dict[str, str | None]:
    names = {n for a in run.plan.actions for n in a.step.distributions}
    return {**toolchain.platform_facts(), **toolchain.versions(sorted(names))}
