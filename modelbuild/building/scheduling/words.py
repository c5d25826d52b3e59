"""What the loop has to say by itself: of children that died, of the cache, of what is missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from modelbuild.base.catalogue import EXIT_STEP_FAILED, EXIT_TOOLCHAIN
from modelbuild.base.errors import Diagnostic
from modelbuild.base.records import REFUSED
from modelbuild.building.scheduling.runs import Ended, Origin
from modelbuild.machine.isolate import describe
from modelbuild.steps.origins import DUMP, of_dump
from modelbuild.store import Entry
from modelbuild.store.inside import opened
from modelbuild.wording.phrases import few
from modelbuild.worker.here import DEBUGGED
from modelbuild.worker.jobs import Done

_TAIL = 1 << 16  # bytes of a log
_SHORT = len("ed25519:") + 8  # characters of a public key that tell it from others


def crashed(what: str, status: int, log: Path | None) -> Done:
    """The result of a job that sent none; ``status`` is its wait status."""
    text = _end_of(log) if log else ""
    words = _last_words(text)
    killed = os.WIFSIGNALED(status)
    by = of_dump(text) if killed and os.WTERMSIG(status) != signal.SIGKILL else ""  # which leaves no word
    cause = "native code died, or memory ran out" if killed else "something in it ended the process"
    said = Diagnostic(
        "worker-crashed",
        f"{what} {'was ' if killed else ''}{describe(status)}{by}"
        + (f"; last words: {words}" if words else ""),
        f"{cause}; the other artifacts are not touched",
    )
    return Done(None, (said,), exit_code=EXIT_STEP_FAILED)


def with_log(diagnostics: Iterable[Diagnostic], log: Path | None) -> tuple[Diagnostic, ...]:
    """Errors name the log: library noise is there, and nowhere else."""
    if log is None:
        return tuple(diagnostics)
    return tuple(
        replace(d, hint=f"{d.hint}; log: {log}" if d.hint else f"log: {log}") if d.level == "error" else d
        for d in diagnostics
    )


def without(missing: str, required: bool) -> Ended:
    """The end of an engine whose backend is not here: it is skipped, unless engines are required."""
    said = Diagnostic("backend-missing", missing, None, level="error" if required else "info")
    if required:
        return Ended("failed", diagnostics=(said,), exit_code=EXIT_TOOLCHAIN)
    return Ended("skipped", diagnostics=(said,))


def damaged(action: str, instead: str = "made again") -> Diagnostic:
    return Diagnostic(
        "cache-corrupt",
        f"what the cache had as the result of `{action}` is not what was stored; "
        f"it was set aside and {instead}",
        "look at the disk if this comes back; `modelbuild cache verify` looks at the rest",
        level="warning",
    )


def signed(origin: Origin) -> str:
    """Who signed an entry of the remote cache, and on which day."""
    by = origin.by if len(origin.by) <= _SHORT else f"{origin.by[:_SHORT]}…"
    return f"signed by {by} on {origin.when[:10]}"


def refused(entry: Entry, log: Path) -> Ended:
    """The end of an action that was refused when it ran, and would be again."""
    said = with_log((Diagnostic.from_json(dict(d)) for d in entry.diagnostics), log)
    return Ended("failed", entry, diagnostics=said, data=entry.data, exit_code=entry.data[REFUSED])


def unstable(action: str, files: Sequence[str]) -> Diagnostic:
    return Diagnostic(
        "changed-while-read",
        f"{few(files, 1)} was saved while `{action}` read it: its result is not cached",
        "build again",
        level="warning",
    )


def passing(action: str, reasons: Sequence[str]) -> Diagnostic:
    if DEBUGGED in reasons:
        said = f"{DEBUGGED}: the result of `{action}` is used and not cached"
        return Diagnostic("not-kept", said, "the next build makes it again", level="warning")
    return Diagnostic(
        "not-kept",
        f"`{action}` went on after what may be gone the next time: {reasons[0]}. Its result is used and not "
        "cached",
        "the next build tries again; is there enough memory and disk?",
        level="warning",
    )


def unrecorded(action: str, cache: Path, error: OSError) -> Diagnostic:
    return Diagnostic(
        "cache-unwritable",
        f"the result of `{action}` cannot be recorded in {cache}: {error.strerror}",
        "it is made again next time; check the cache folder and the disk",
        level="warning",
    )


def _end_of(log: Path) -> str:
    try:
        with open(opened(log, log.parent), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _last_words(text: str, limit: int = 200) -> str:
    """The last line before Python's own words on a signal."""
    lines = (line.strip() for line in reversed(text.partition(DUMP)[0].splitlines()))
    return next((line[:limit] for line in lines if line), "")
