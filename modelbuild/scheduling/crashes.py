"""A child that died, in words a user can act on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from modelbuild.errors import EXIT_STEP_FAILED, Diagnostic
from modelbuild.isolate import describe
from modelbuild.worker.jobs import Done


def crashed(what: str, status: int, log: Path) -> Done:
    """The result of a job that sent none; ``status`` is its wait status."""
    words = _last_words(log)
    killed = os.WIFSIGNALED(status)
    cause = "native code died, or memory ran out" if killed else "something in it ended the process"
    said = Diagnostic(
        "worker-crashed",
        f"{what} {'was ' if killed else ''}{describe(status)}" + (f"; last words: {words}" if words else ""),
        f"{cause}; the other artifacts are not touched",
    )
    return Done(None, (said,), exit_code=EXIT_STEP_FAILED)


def with_log(diagnostics: Iterable[Diagnostic], log: Path) -> tuple[Diagnostic, ...]:
    """Errors name the log: library noise is there, and nowhere else."""
    return tuple(
        replace(d, hint=f"{d.hint}; log: {log}" if d.hint else f"log: {log}") if d.level == "error" else d
        for d in diagnostics
    )


def _last_words(log: Path, limit: int = 200) -> str:
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line[:limit] for line in reversed(lines) if line), "")
