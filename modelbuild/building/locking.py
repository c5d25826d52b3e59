"""Builds and their lock files: written by ``build --lock``, held to by ``build --locked``."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from modelbuild import lockfile
from modelbuild.base.catalogue import EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.results import GOOD, RecipeResult
from modelbuild.building.manifest import toolchain_of
from modelbuild.building.scheduling.runs import Run
from modelbuild.lockfile import Lock, agreement
from modelbuild.plan.planning import plan
from modelbuild.store import Store
from modelbuild.wording.phrases import few

_MOST = 8  # differences in one message


def refused(why: str) -> RecipeError:
    """A command line in which ``--lock`` or ``--locked`` means nothing."""
    return RecipeError(Diagnostic("recipe-invalid", why, "leave one of them out"))


def written(run: Run, result: RecipeResult, store: Store) -> RecipeResult:
    """Write the lock file of a build that is all good; the result says what was done."""
    path = lockfile.place(Path(run.path))
    why = None
    if result.exit_code or not all(a.status in (*GOOD, "skipped") for a in result.artifacts):
        why = "not everything is built and proven", "see the errors above"
    elif run.passing:
        action, reasons = next(iter(run.passing.items()))
        why = f"`{action}` went on after {reasons[0]}, and the next build may give other bytes", "build again"
    if why is not None:
        unwritten = Diagnostic("lock-unwritten", f"{path} is not written: {why[0]}", why[1], level="warning")
        return _with(result, unwritten)
    now = _lock(run, result, store)
    with contextlib.suppress(RecipeError):  # there is none, or it is damaged: this one takes its place
        now = now.after(lockfile.load(path))
    try:
        if not lockfile.save(now, path):
            return result
    except OSError as error:
        said = Diagnostic("system-error", f"{path} cannot be written: {error.strerror}", "check the folder")
        return _failed(result, said)
    return _with(result, Diagnostic("lock-written", f"wrote {path}", "review and commit it", level="info"))


def held(run: Run, result: RecipeResult, locks: Mapping[str, Lock], store: Store) -> RecipeResult:
    """Where the build differs from its lock file, if it does: the recipe has failed then. ``locks`` are by
    recipe."""
    made = {a.name for a in run.plan.artifacts if a.kind == "engine" or run.is_good(a)}
    # What ``--only`` left out is not asked for, and what failed has said so itself.
    unmade = {a.name for a in plan(run.plan.recipe).artifacts} - made
    said = lockfile.differences(locks[run.path].without(unmade), _lock(run, result, store))
    if not said:
        return result
    found = Diagnostic(
        "lock-mismatch",
        f"the build differs from its lock file: {few(said, _MOST, '; ')}",
        "`modelbuild build --lock` writes the new one, to be reviewed",
        str(lockfile.place(Path(run.path))),
    )
    return _failed(result, found)


def _lock(run: Run, result: RecipeResult, store: Store) -> Lock:
    """The lock of what was built and proven; engines are in it in any case."""
    onnx, engines = {}, {}
    for artifact, told in zip(run.plan.artifacts, result.artifacts, strict=True):
        if artifact.kind == "engine":
            engines[artifact.name] = told.key
        elif run.is_good(artifact):
            tree = run.tree_of(artifact)
            folder = store.folder(tree) if tree is not None else None
            if tree is not None and folder is not None:
                onnx[artifact.name] = lockfile.row(told, folder, tree)
    made = lockfile.compose(run.name, onnx, engines, toolchain_of(run), run.discovered(), run.outlines())
    return replace(made, definition=agreement.definition(run.plan.recipe))


def _with(result: RecipeResult, said: Diagnostic) -> RecipeResult:
    return replace(result, diagnostics=(*result.diagnostics, said))


def _failed(result: RecipeResult, said: Diagnostic) -> RecipeResult:
    return replace(_with(result, said), status="failed", exit_code=result.exit_code or EXIT_STEP_FAILED)
