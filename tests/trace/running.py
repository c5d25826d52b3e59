"""Code that is run in a process of its own, and what was recorded of it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.base import stat_rows
from modelbuild.machine.isolate import in_child
from modelbuild.trace.recording import Noted, Trace

LONG_AGO = 1_000_000_000


def write(folder: Path, name: str, text: str | bytes = "") -> Path:
    """A file that was there long before the run."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(textwrap.dedent(text).encode() if isinstance(text, str) else text)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


TESTS = str(Path(__file__).parents[1])


def run(
    base: Path,
    code: str,
    *,
    cwd: Path | None = None,
    path: tuple[Path, ...] = (),
    ignored: tuple[Path, ...] = (),
    declared: tuple[Path, ...] = (),
    meanwhile: Callable[[], object] = lambda: None,
) -> Noted:
    """Import ``code`` as the module ``main`` in ``base``, in a process of its own, and see."""
    write(base, "main.py", code)
    time.sleep(0.03)  # two ticks: what was written just before it is read is another test's

    def traced() -> Noted:
        os.chdir(cwd or base)
        sys.path[:] = [p for p in sys.path if not p.startswith(TESTS)]  # pytest's doing
        for folder in (*path, cwd or base, base):
            sys.path.insert(0, str(folder))
        trace = Trace(base, ignored)
        __import__("main")
        meanwhile()
        return trace.found(declared)

    ended = in_child(traced)
    assert ended.ok, ended
    found: Noted = ended.value
    return found


def of_kind(found: Noted, *kinds: str) -> dict[str, str | None]:
    """The facts of these kinds, but for the module that the test itself imports."""
    return {n: v for n, v in found.facts.items() if n.partition(" ")[0] in kinds and n != "file main.py"}


def names(found: Noted, *kinds: str) -> set[str]:
    return {n.partition(" ")[2] for n in of_kind(found, *kinds)}


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


def stat_rows_of(paths: list[str]) -> list[str]:
    return [stat_rows.row(path) for path in paths]
