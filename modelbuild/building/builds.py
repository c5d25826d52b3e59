"""From recipes to results: load, plan, schedule, sum up. The functions behind the commands."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modelbuild import lockfile
from modelbuild.base import stat_rows
from modelbuild.base.catalogue import EXIT_USAGE
from modelbuild.base.errors import Diagnostic, ModelbuildError, RecipeError
from modelbuild.base.results import GOOD, BuildResult, RecipeResult
from modelbuild.building import locking, writing_back
from modelbuild.building import request as requests
from modelbuild.building.manifest import MANIFEST
from modelbuild.building.publishing import Publisher, toolchain_of
from modelbuild.building.request import Loaded, Request
from modelbuild.building.scheduling.runs import Options, Reporter, Run
from modelbuild.building.scheduling.scheduler import Scheduler
from modelbuild.lockfile import Lock
from modelbuild.recipe.finding import find
from modelbuild.state import keeping
from modelbuild.store import Store, hash_file
from modelbuild.trace import kinds
from modelbuild.worker import here


def build(request: Request, reporter: Reporter) -> BuildResult:
    """Build (or with ``dry_run`` judge, or with ``measure`` compare) every recipe.

    Without ``keep_going`` a recipe that is wrong stops all of them before anything is built; with
    it the others are built. A step that fails never stops what does not need it.

    Raises:
        RecipeError: a path or ``only`` names nothing, or two recipes have one name.
    """
    started = stat_rows.now()
    texts = writing_back.loaded(find(request.recipes)) if request.write_back else {}
    if request.lock and (request.only or request.dry_run):
        raise locking.refused("--lock goes with neither --only nor --dry-run: it is about all that is built")
    if request.locked and request.dry_run:
        raise locking.refused("--locked does not go with --dry-run: it is about the bytes that come out")
    if request.in_process is not None:
        _ready_for_a_step(request)
    recipes = requests.loaded(request)
    recipes, locked = _locks(recipes) if request.locked else (recipes, {})
    if recipes.broken and not request.keep_going:
        return BuildResult(tuple(recipes.broken))
    store = request.store()
    runs = requests.runs(request, recipes, store)
    publisher = Publisher(store, request.out, request.dry_run, request.measure, locked)
    options = Options(
        request.job_count(), request.dry_run, request.force, request.require_engines, request.in_process
    )
    scheduler = Scheduler(runs, store, options, reporter, publisher)
    interrupted = False
    try:
        scheduler.run()
    except KeyboardInterrupt:
        interrupted = True
    except OSError as error:
        if _is_of(store, error):
            raise _unwritable(store, error) from error
        raise
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
        done = [publisher.with_manifest(run, result) for run, result in zip(runs, done, strict=True)]
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
    return BuildResult(recipes.in_order(done), interrupted)


def _ready_for_a_step(request: Request) -> None:
    """Can one run in this process, and give what it gives in a child?

    Raises:
        RecipeError: not as this command was called.
    """
    if request.dry_run:
        raise locking.refused("--in-process does not go with --dry-run, which runs nothing")
    if not here.is_seeded():
        raise RecipeError(
            Diagnostic(
                "recipe-invalid",
                "--in-process: Python hashes strings by another seed here than in a step's own process, and "
                "the bytes can depend on it",
                "call it with PYTHONHASHSEED=0 in the environment",
            )
        )


def _locks(recipes: Loaded) -> tuple[Loaded, dict[str, Lock]]:
    """The lock file of each recipe; a recipe without one, or with a damaged one, is broken."""
    good, broken, locks = [], list(recipes.broken), {}
    for path, recipe in recipes.recipes:
        try:
            locks[str(path)] = lockfile.load(lockfile.place(path))
            good.append((path, recipe))
        except RecipeError as error:
            said = RecipeResult(str(path), recipe.name, "failed", error.diagnostics, exit_code=EXIT_USAGE)
            broken.append(said)
    return replace(recipes, recipes=good, broken=broken), locks


def _is_of(store: Store, error: OSError) -> bool:
    """Whether it is the cache that failed. A write that found no room does not say where it was, and
    what is published has its own words."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    return Path(os.fsdecode(error.filename)).is_relative_to(store.root)


def _unwritable(store: Store, error: OSError) -> ModelbuildError:
    return ModelbuildError(
        Diagnostic(
            "cache-unwritable",
            f"the cache folder {store.root} cannot be written: {error.strerror}",
            "make room there, or let it be written; `--cache-dir` names another folder",
        )
    )


def _count(store: Store, runs: Sequence[Run]) -> None:
    """For ``cache stats``: what the store spared this build."""
    hits = [e.entry for r in runs for e in r.ended.values() if e.status == "cached" and e.entry is not None]
    misses = sum(e.status == "built" for r in runs for e in r.ended.values())
    if hits or misses:
        size = sum(f.bytes for e in hits for f in e.tree.files.values())
        store.count(len(hits), misses, sum(e.seconds for e in hits), size)


# Said of what this build did, and not true of the next one.
_OF_THIS_BUILD = frozenset({"artifact-removed", "lock-written", "lock-unwritten"})


def _keep(cache: Path, run: Run, result: RecipeResult, out: Path, started: tuple[int, int]) -> None:
    """Let the next build answer from stat rows, if this one left nothing to do."""
    if result.exit_code or not all(a.status in (*GOOD, "skipped") for a in result.artifacts):
        return
    if run.unstable or run.passing:
        return
    lasting = tuple(d for d in result.diagnostics if d.code not in _OF_THIS_BUILD)
    result = replace(result, diagnostics=lasting)
    said = [*result.diagnostics, *(d for a in result.artifacts for d in a.diagnostics)]
    if any(d.code.startswith("cache-") for d in said):
        return  # it is said of this build, and would not be true of the next one
    read: dict[tuple[str, str], str | None] = {}
    for entry in (e.entry for e in run.ended.values() if e.entry is not None):
        packages = {n: v for n, v in entry.facts.items() if kinds.parted(n)[0] is kinds.PACKAGE}
        for name, value in (packages | dict(entry.discovered)).items():
            if read.setdefault((name, kinds.question(name, value)), value) != value:
                return  # it changed between two actions
    folder = out / run.name
    trees = [run.ended[a.action].tree for a in run.plan.artifacts]
    files = {folder / name: f.sha256 for t in trees if t is not None for name, f in t.files.items()}
    facts = tuple((name, value) for (name, _), value in read.items())
    with contextlib.suppress(OSError):
        files[folder / MANIFEST] = hash_file(folder / MANIFEST).sha256
        keeping.keep(cache, Path(run.identity), run.path, out, result, facts, files, run.plan.recipe, started)
