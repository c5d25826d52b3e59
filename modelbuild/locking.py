"""Builds and their lock files: written by ``build --lock``, held to by ``build --locked``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from modelbuild import lockfile
from modelbuild.errors import EXIT_STEP_FAILED, EXIT_USAGE, Diagnostic, RecipeError
from modelbuild.lockfile import Lock
from modelbuild.results import GOOD, ArtifactResult, RecipeResult
from modelbuild.scheduling.runs import Run
from modelbuild.store import Store

_MOST = 8  # differences in one message


def written(
    run: Run, result: RecipeResult, toolchain: Mapping[str, str | None], store: Store
) -> RecipeResult:
    """Write the lock file of a build that is all good; the result says what was done."""
    path = lockfile.place(Path(run.path))
    if result.exit_code or not all(a.status in (*GOOD, "skipped") for a in result.artifacts):
        said = Diagnostic(
            "lock-unwritten",
            f"{path} is not written: not everything is built and proven",
            "see the errors above",
            level="warning",
        )
        return replace(result, diagnostics=(*result.diagnostics, said))
    now = _lock(run, result, toolchain, store)
    try:
        old = lockfile.load(path)
    except RecipeError:
        old = now  # there is none, or it is damaged: this one takes its place
    # A machine without a backend does not know the key of its engines, and another one did.
    engines = {name: key or old.engines.get(name) for name, key in now.engines.items()}
    try:
        if not lockfile.save(replace(now, engines=engines), path):
            return result
    except OSError as error:
        said = Diagnostic("system-error", f"{path} cannot be written: {error.strerror}", "check the folder")
        return replace(
            result, status="failed", exit_code=EXIT_STEP_FAILED, diagnostics=(*result.diagnostics, said)
        )
    said = Diagnostic("lock-written", f"wrote {path}", "review and commit it", level="info")
    return replace(result, diagnostics=(*result.diagnostics, said))


def held(
    run: Run, result: RecipeResult, locked: Lock, toolchain: Mapping[str, str | None], store: Store
) -> RecipeResult:
    """Where the build differs from its lock file, if it does: the recipe has failed then."""
    now = _lock(run, result, toolchain, store)
    wanted = locked.only({a.name for a in result.artifacts})
    there = {a.name for a in result.artifacts if _file(run, a, store) is not None or a.kind == "engine"}
    said = lockfile.differences(wanted.only(there), now)  # what failed has said so itself
    if not said:
        return result
    more = f"; and {len(said) - _MOST} more" if len(said) > _MOST else ""
    found = Diagnostic(
        "lock-mismatch",
        f"the build differs from its lock file: {'; '.join(said[:_MOST])}{more}",
        "`modelbuild build --lock` writes the new one, to be reviewed",
        str(lockfile.place(Path(run.path))),
    )
    code = result.exit_code or EXIT_STEP_FAILED
    return replace(result, status="failed", exit_code=code, diagnostics=(*result.diagnostics, found))


def refused(why: str) -> RecipeError:
    """A command line in which ``--lock`` means nothing."""
    error = RecipeError(Diagnostic("recipe-invalid", f"--lock {why}", "leave one of them out"))
    error.exit_code = EXIT_USAGE
    return error


def _lock(run: Run, result: RecipeResult, toolchain: Mapping[str, str | None], store: Store) -> Lock:
    rows = {}
    for artifact in result.artifacts:
        path = _file(run, artifact, store)
        if path is not None:
            tree = run.tree_of(artifact.name)
            files = {name: f.sha256 for name, f in tree.files.items()} if tree else {}
            size = sum(f.bytes for f in tree.files.values()) if tree else 0
            rows[artifact.name] = lockfile.row(replace(artifact, bytes=size), path, files)
        elif artifact.kind == "engine":
            rows[artifact.name] = lockfile.Engine(artifact.key)
    return lockfile.compose(run.name, rows, toolchain, run.discovered(), run.outlines())


def _file(run: Run, artifact: ArtifactResult, store: Store) -> Path | None:
    """The artifact in the store; None if it was not made."""
    tree = run.tree_of(artifact.name)
    folder = store.folder(tree) if tree is not None else None
    return folder / artifact.name if folder is not None else None
