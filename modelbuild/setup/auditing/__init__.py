"""Reads that no key sees: the model is made, exported and run under a tracer.

Keys know what Python opens, and what libraries read whose calls are watched. Native code may read
anything; here the kernel tells. Nothing is published, and the cache is thrown away.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelbuild.base.catalogue import EXIT_STEP_FAILED, EXIT_USAGE
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.results import BuildResult, RecipeResult
from modelbuild.building import undisclosed
from modelbuild.building.scheduling.crew import WITH_TORCH
from modelbuild.machine import cores, toolchain
from modelbuild.machine.environment import ENVIRONMENT
from modelbuild.machine.isolate import describe
from modelbuild.plan.actions import Plan
from modelbuild.plan.planning import plan
from modelbuild.recipe.finding import find
from modelbuild.recipe.loading import load
from modelbuild.setup.auditing import strace
from modelbuild.store import Store
from modelbuild.trace import kinds
from modelbuild.trace.places import Places
from modelbuild.worker.client import Finished, Link, Workers
from modelbuild.worker.jobs import Done, HostModel, Ready, RunStep, Surroundings

_INTERPRETER = frozenset({"pyvenv.cfg", "pybuilddir.txt"})  # what Python reads as it starts
# Compiled sources, and what a distribution says of itself: they stand for what the keys do hold. An
# editable one has them among the user's files.
_INSTALLED = ("/__pycache__", ".dist-info", ".egg-info")
_PATIENCE = 30.0  # s, for the last children and the tracer's last lines


@dataclass
class _Seen:
    """What the actions found, or why one failed."""

    facts: dict[str, str | None] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    exit_code: int = 0


def audit(arguments: Sequence[str]) -> BuildResult:
    """Trace every recipe's model, and tell each read that its keys do not see.

    Raises:
        RecipeError: an argument names nothing, or the environment has a key to sign with.
        ToolchainError: ``tracer-missing``: there is no tracer, or it may not trace here; ``backend-missing``:
            there is no onnxruntime, which the export needs.
    """
    undisclosed.must_be()
    paths = find(arguments)
    toolchain.need_runtime()
    strace.command(Path(os.devnull))
    return BuildResult(tuple(_audited(path) for path in paths))


def _audited(path: Path) -> RecipeResult:
    try:
        recipe = load(path)
    except RecipeError as error:
        return RecipeResult(str(path), path.stem, "failed", error.diagnostics, exit_code=EXIT_USAGE)
    base = path.absolute().parent
    with tempfile.TemporaryDirectory(prefix="modelbuild-audit-") as name:
        folder = Path(os.path.realpath(name))
        around = Surroundings(base, Path.cwd(), folder / "cache", folder / "out")
        trace = folder / "trace"
        trace.touch()
        # By the clock of the file system, which ticks every 4 to 10 ms.
        start = trace.stat().st_ctime_ns
        seen = _run(plan(recipe), around, trace)
        if seen.exit_code:
            return RecipeResult(str(path), recipe.name, "failed", seen.diagnostics, exit_code=seen.exit_code)
        with trace.open(encoding="ascii", errors="surrogateescape") as lines:
            opened = strace.opened(lines)
        places = Places(base, (folder,))
        known = {os.path.realpath(base / path) for path in kinds.of(kinds.FILE, seen.facts)}
        undeclared = {
            file: program
            for file, program in sorted(opened.read.items())
            if file not in known and _counts(file, places) and not _arrived(file, opened.written, start)
        }
    told = tuple(_undeclared(places.name(file), program) for file, program in undeclared.items())
    failed = EXIT_STEP_FAILED if told else 0
    return RecipeResult(str(path), recipe.name, "failed" if told else "ok", told, exit_code=failed)


# ---- what is traced ----------------------------------------------------------------------------


class _Traced(Workers):
    """Workers under a tracer, which has written everything once they are let go."""

    def let_go(self) -> None:
        """End as the server does by itself: a tracer that is killed loses its last lines."""
        self.close(self.first)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:  # the model's code left a process behind
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)


def _run(todo: Plan, around: Surroundings, trace: Path) -> _Seen:
    """Run the actions that read by themselves and need nothing: the exports and the reference run."""
    store = Store(around.cache)
    name = todo.recipe.name
    actions = [a for a in todo.actions if a.discovers and not a.before]
    seen = _Seen()
    preload = WITH_TORCH if todo.source is not None else ()
    workers = _Traced(preload, ENVIRONMENT, strace.command(trace))
    with workers:
        host: Link | None = None
        for action in actions:
            if action.beside_model and host is None:
                model = HostModel(todo.source, around, str(store.log(around.base, name, "model")))
                made = _result(workers, workers.first, model, "model")
                if not isinstance(made, Ready):
                    return _failure(made, "the model's process")
                host = workers.adopt("model", workers.first)
            log = str(store.log(around.base, name, action.id))
            step = RunStep(
                action.step, action.folders, store.workspace(), around, log,
                traced=True, threads=cores.available(), needs=("modelbuild.worker.jobs",),
            )  # fmt: skip
            done = _result(workers, host if host and action.beside_model else workers.first, step, action.id)
            if not isinstance(done, Done) or done.tree is None:
                return _failure(done, action.id)
            seen.facts |= done.discovered
        if host is not None:
            workers.close(host)
        workers.let_go()
    return seen


def _result(workers: Workers, link: Link, job: Any, token: str) -> Any:
    """A job's result, or the status of a process that died without one."""
    workers.submit(link, job, token)
    while True:
        for news in workers.wait(1.0):
            if isinstance(news, Finished) and news.token == token:
                return news.status if news.result is None else news.result


def _failure(ended: Any, what: str) -> _Seen:
    if isinstance(ended, Done):
        return _Seen({}, ended.diagnostics, ended.exit_code or EXIT_STEP_FAILED)
    hint = "`modelbuild build` says more; native code may not bear a tracer"
    died = Diagnostic("worker-crashed", f"{what} was {describe(ended or 0)} under the tracer", hint)
    return _Seen({}, (died,), EXIT_STEP_FAILED)


# ---- what counts -------------------------------------------------------------------------------


def _counts(file: str, places: Places) -> bool:
    """Whether a file is the user's, and still there to be declared."""
    folder, name = os.path.split(file)
    installed = name in _INTERPRETER or folder.endswith(_INSTALLED)
    return not installed and places.counts(file) and os.path.isfile(file)


def _arrived(file: str, written: set[str], start: int) -> bool:
    """Whether the run itself put the file there, under another name at first."""
    with contextlib.suppress(OSError):
        return file not in written and os.stat(file).st_ctime_ns > start
    return True


def _undeclared(name: str, program: str | None) -> Diagnostic:
    by = f" by `{os.path.basename(program)}`" if program else ""
    return Diagnostic(
        "undeclared-read",
        f"it is read{by}, and no key sees it: a change of it would rebuild nothing",
        f"add it to the recipe: `model: {{files: [{name}]}}`",
        name,
    )
