"""From recipes to results: load, plan, walk or schedule, finish. The functions behind the commands."""

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
from modelbuild.base.results import BuildResult, RecipeResult
from modelbuild.building import locking, undisclosed, writing_back
from modelbuild.building import request as requests
from modelbuild.building.answering import Answers, MeasuredAnswers
from modelbuild.building.finishing import count, finished, finishers
from modelbuild.building.publishing import Publisher
from modelbuild.building.request import Loaded, Request
from modelbuild.building.scheduling.runs import Nowhere, Options, Reporter, Run
from modelbuild.building.scheduling.scheduler import Scheduler
from modelbuild.building.standing import judged
from modelbuild.lockfile import Lock
from modelbuild.machine import toolchain
from modelbuild.recipe.finding import find
from modelbuild.store import Store
from modelbuild.worker import here


def build(request: Request, reporter: Reporter) -> BuildResult:
    """Build every recipe: run what is not fresh, publish what is proven, and finish.

    Without ``keep_going`` a recipe that is wrong stops all of them before anything is built; with
    it the others are built. A step that fails never stops what does not need it.

    Raises:
        RecipeError: a path or ``only`` names nothing, two recipes have one name, or the options do not
            go together, or the environment has a key to sign with.
        ToolchainError: there is something to do, and no onnxruntime to prove it with.
        Unreachable: the remote cache is required, and there is none, or it does not answer.
    """
    undisclosed.must_be()
    started = stat_rows.now()
    texts = writing_back.loaded(find(request.recipes)) if request.write_back else {}
    if request.lock and request.only:
        raise locking.refused(_ABOUT_ALL)
    if request.in_process is not None:
        _ready_for_a_step()
    recipes = requests.loaded(request)
    recipes, locked = _locks(recipes) if request.locked else (recipes, {})
    if recipes.broken and not request.keep_going:
        return BuildResult(tuple(recipes.broken))
    store = request.store()
    remote = request.reader(store)
    if recipes.recipes and remote is None:  # with one, all of it may be there, and nothing run
        toolchain.need_runtime()
    runs = requests.runs(request, recipes, store)
    publisher = Publisher(store, request.out, locked)
    scheduler = Scheduler(runs, store, _options(request), reporter, publisher, remote, toolchain.need_runtime)
    interrupted = _is_interrupted(scheduler)
    # What was built is built: a cache that cannot be written costs the next build its reasons.
    with contextlib.suppress(OSError):
        scheduler.remember()
    count(store, runs)
    results = _results(runs, Answers(request.out, publisher.delivery), interrupted)
    if not interrupted:
        results = finished(runs, results, finishers(request, publisher, texts, started))
        store.close()
    told = requests.with_remote(requests.with_runtime(results), remote)
    return BuildResult(recipes.in_order(told), interrupted)


def foresee(request: Request, reporter: Reporter) -> BuildResult:
    """What ``build`` would do, and why: walked, and nothing is built or written.

    Raises:
        RecipeError: as ``build``; or an option is about what comes out.
        Unreachable: as ``build``.
    """
    if request.lock:
        raise locking.refused(_ABOUT_ALL)
    if request.locked:
        raise locking.refused("--locked does not go with --dry-run: it is about the bytes that come out")
    if request.in_process is not None:
        raise locking.refused("--in-process does not go with --dry-run, which runs nothing")
    recipes = requests.loaded(request)
    if recipes.broken and not request.keep_going:
        return BuildResult(tuple(recipes.broken))
    store = request.store()
    runs = requests.runs(request, recipes, store)
    stands = judged(runs, request, store, reporter)
    return BuildResult(recipes.in_order(stands.results()))


def verify(request: Request, reporter: Reporter) -> BuildResult:
    """Compare every published file with PyTorch again; nothing is built.

    Raises:
        RecipeError: a path or ``only`` names nothing, or nothing is published.
        ToolchainError: there is no onnxruntime to measure with.
    """
    undisclosed.must_be()
    recipes = requests.read(request)
    if recipes.broken:
        return BuildResult(tuple(recipes.broken))
    toolchain.need_runtime()
    store = request.store()
    runs = requests.measuring(request, recipes, store)
    interrupted = _is_interrupted(Scheduler(runs, store, _options(request), reporter, Nowhere()))
    results = _results(runs, MeasuredAnswers(request.out), interrupted)
    return BuildResult(recipes.in_order(requests.with_runtime(results)), interrupted)


_ABOUT_ALL = "--lock goes with neither --only nor --dry-run: it is about all that is built"


def _options(request: Request) -> Options:
    return Options(
        request.job_count(),
        request.force,
        request.require_engines,
        request.in_process,
        request.require_remote,
    )


def _is_interrupted(scheduler: Scheduler) -> bool:
    """Bring every action to an end. Whether somebody put an end to that.

    Raises:
        ModelbuildError: the cache cannot be written.
    """
    try:
        scheduler.run()
    except KeyboardInterrupt:
        return True
    except OSError as error:
        if _is_of(scheduler.store, error):
            raise _unwritable(scheduler.store, error) from error
        raise
    return False


def _results(runs: Sequence[Run], answers: Answers, interrupted: bool) -> list[RecipeResult]:
    """What became of each recipe: one that was cut short has failed."""
    done = [answers.result(run) for run in runs]
    if not interrupted:
        return done
    return [r if run.all_ended() else replace(r, status="failed") for run, r in zip(runs, done, strict=True)]


def _ready_for_a_step() -> None:
    """Can one run in this process, and give what it gives in a child?

    Raises:
        RecipeError: not as this command was called.
    """
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
