"""From recipes to results: load, plan, schedule, sum up. The functions behind the commands."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modelbuild import keeping, lockfile, locking, state, toolchain, writing_back
from modelbuild import request as requests
from modelbuild.publishing import MANIFEST, Publisher, toolchain_of
from modelbuild.recipe.finding import find
from modelbuild.request import Request
from modelbuild.results import GOOD, BuildResult, RecipeResult
from modelbuild.scheduling.runs import Options, Reporter, Run
from modelbuild.scheduling.scheduler import Scheduler
from modelbuild.store import Store, hash_file


def build(request: Request, reporter: Reporter) -> BuildResult:
    """Build (or with ``dry_run`` judge, or with ``measure`` compare) every recipe.

    Without ``keep_going`` a recipe that is wrong stops all of them before anything is built; with
    it the others are built. A step that fails never stops what does not need it.

    Raises:
        RecipeError: a path or ``only`` names nothing, or two recipes have one name.
    """
    started = state.now()
    paths = requests.paths(request)
    texts = writing_back.loaded(paths) if request.write_back else {}
    if request.lock and (request.only or request.dry_run):
        raise locking.refused("goes with neither --only nor --dry-run: it is about all that is built")
    recipes = requests.loaded(paths)
    locked = {str(p): lockfile.load(lockfile.place(p)) for p, _ in recipes.recipes if request.locked}
    if recipes.broken and not request.keep_going:
        return BuildResult(tuple(recipes.broken))
    store = request.store()
    runs = requests.runs(request, recipes, store)
    publisher = Publisher(store, request.out, request.dry_run, request.measure, locked)
    options = Options(request.job_count(), request.dry_run, request.force, request.require_engines)
    scheduler = Scheduler(runs, store, options, reporter, publisher)
    interrupted = False
    try:
        scheduler.run()
    except KeyboardInterrupt:
        interrupted = True
    building = not request.dry_run and not request.measure
    if building:
        # What was built is built: a cache that cannot be written costs the next build its reasons.
        with contextlib.suppress(OSError):
            scheduler.remember()
        _count(store, runs)
    done = [publisher.result(run) for run in runs]
    if interrupted:
        done = [
            r if run.all_ended() else replace(r, status="failed") for run, r in zip(runs, done, strict=True)
        ]
    elif building:
        for run, result in zip(runs, done, strict=True):
            publisher.write_manifest(run, result)
        if request.lock:
            done = [
                locking.written(run, r, toolchain_of(run), store) for run, r in zip(runs, done, strict=True)
            ]
        if locked:
            done = [
                locking.held(run, r, locked[run.path], toolchain_of(run), store)
                for run, r in zip(runs, done, strict=True)
            ]
        store.close()
        for run, result in zip(runs, done, strict=True):
            if not request.only:
                _keep(store.root, run, result, request.out, started)
    if request.write_back and not (interrupted or request.dry_run):
        of = {str(path): recipe for path, recipe in recipes.recipes}
        done = [writing_back.written_back(of[r.recipe], r, texts) for r in done]
    return BuildResult(recipes.in_order(done, paths), interrupted)


def check(arguments: Sequence[str]) -> BuildResult:
    """Everything that can be wrong without running the model's code."""
    found = [requests.checked(path) for path in find(arguments)]
    return BuildResult(tuple(r for _, r in found))


def _count(store: Store, runs: Sequence[Run]) -> None:
    """For ``cache stats``: what the store spared this build."""
    hits = [e.entry for r in runs for e in r.ended.values() if e.status == "cached" and e.entry is not None]
    misses = sum(e.status == "built" for r in runs for e in r.ended.values())
    if hits or misses:
        size = sum(f.bytes for e in hits for f in e.tree.files.values())
        store.count(len(hits), misses, sum(e.seconds for e in hits), size)


def _keep(cache: Path, run: Run, result: RecipeResult, out: Path, started: tuple[int, int]) -> None:
    """Let the next build answer from stat rows, if this one left nothing to do."""
    if result.exit_code or run.unstable or not all(a.status in (*GOOD, "skipped") for a in result.artifacts):
        return
    used = {n for a in run.plan.actions for n in a.step.distributions}
    read = {f"package {name}": version for name, version in toolchain.versions(used).items()}
    for ended in run.ended.values():
        for name, value in ended.entry.discovered.items() if ended.entry is not None else ():
            if read.setdefault(name, value) != value:
                return  # it changed between two actions
    folder = out / run.name
    trees = [run.ended[a.action].tree for a in run.plan.artifacts]
    files = {folder / name: f.sha256 for t in trees if t is not None for name, f in t.files.items()}
    recipe = run.plan.recipe
    patterns = (*recipe.model.files, *recipe.verify.data)
    with contextlib.suppress(OSError):
        files[folder / MANIFEST] = hash_file(folder / MANIFEST).sha256
        keeping.keep(cache, Path(run.identity), run.path, out, result, read, files, patterns, started)
