"""What is done when everything has come to its end: a tuple of finishers, each over all recipes.

A finisher gets a run and what is said of it, does its work, and gives what is said of it then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from modelbuild.base.results import GOOD, RecipeResult
from modelbuild.building import locking, writing_back
from modelbuild.building.listing import listed
from modelbuild.building.manifest import MANIFEST
from modelbuild.building.publishing import Publisher
from modelbuild.building.request import Request
from modelbuild.building.scheduling.runs import Run
from modelbuild.state import keeping
from modelbuild.store import Store, hash_file
from modelbuild.trace import kinds

Finisher = Callable[[Run, RecipeResult], RecipeResult]


def finishers(
    request: Request, publisher: Publisher, texts: Mapping[str, bytes], started: tuple[int, int]
) -> tuple[Finisher, ...]:
    """Of a build, in their order. ``texts`` are the recipes as they were read, and ``started`` is
    ``stat_rows.now()`` before that."""
    store = publisher.store
    every: list[Finisher] = [partial(listed, out=request.out, delivery=publisher.delivery)]
    if request.lock:
        every.append(partial(locking.written, store=store))
    if request.locked:
        every.append(partial(locking.held, locks=publisher.locked, store=store))
    if not request.only:
        every.append(partial(_kept, cache=store.root, out=request.out, started=started))
    if request.write_back:
        every.append(partial(_written_back, texts=texts))
    return tuple(every)


def finished(
    runs: Sequence[Run], results: Sequence[RecipeResult], every: Sequence[Finisher]
) -> list[RecipeResult]:
    """These results, once every finisher has been at all of them."""
    done = list(results)
    for finish in every:
        done = [finish(run, result) for run, result in zip(runs, done, strict=True)]
    return done


def count(store: Store, runs: Sequence[Run]) -> None:
    """For ``cache stats``: what the store spared this build."""
    spared = [e for r in runs for e in r.ended.values() if e.status in ("cached", "fetched")]
    hits = [e.entry for e in spared if e.entry is not None]
    misses = sum(e.status == "built" for r in runs for e in r.ended.values())
    if hits or misses:
        size = sum(f.bytes for e in hits for f in e.tree.files.values())
        store.count(len(hits), misses, sum(e.seconds for e in hits), size)


def _written_back(run: Run, result: RecipeResult, texts: Mapping[str, bytes]) -> RecipeResult:
    return writing_back.written_back(run.plan.recipe, result, texts)


def _kept(run: Run, result: RecipeResult, cache: Path, out: Path, started: tuple[int, int]) -> RecipeResult:
    """Let the next build answer from stat rows, if this one left nothing to do."""
    _keep(run, result, cache, out, started)
    return result


def _keep(run: Run, result: RecipeResult, cache: Path, out: Path, started: tuple[int, int]) -> None:
    if result.exit_code or not all(a.status in (*GOOD, "skipped") for a in result.artifacts):
        return
    if run.unstable or run.passing:
        return
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
        keeping.keep(
            cache, Path(run.identity), run.path, out, result.lasting(), facts, files, run.plan.recipe, started
        )
