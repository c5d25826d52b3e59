"""Run a function in a forked child, so that a library that dies does not take its caller along."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from modelbuild.base import passing
from modelbuild.base.errors import Elsewhere

_PR_SET_PDEATHSIG = 1
_memfd = getattr(os, "memfd_create", None)  # Linux: a file in memory


@dataclass(frozen=True)
class ChildEnd:
    """How a child ended: its value, or what it raised, or the signal that killed it."""

    value: Any = None
    error: BaseException | None = None
    died: str | None = None
    status: int = 0  # the wait status of one that died
    met: tuple[str, ...] = ()  # what it went on after, that may be gone the next time; see ``passing``

    @property
    def ok(self) -> bool:
        return self.error is None and self.died is None

    def like_a_call(self) -> Any:
        """The value, or what it raised; this process ends as the child did where that died."""
        if self.died is not None:
            if os.WIFSIGNALED(self.status):
                number = os.WTERMSIG(self.status)
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            os._exit(os.waitstatus_to_exitcode(self.status) & 0xFF)
        if self.error is not None:
            raise self.error
        return self.value


def in_child(function: Callable[[], Any]) -> ChildEnd:
    """Call ``function`` in a fork and wait. Its value and exceptions come back pickled.

    For work on what is already in memory; threads of the caller do not exist in the child. How it ended,
    and what it went on after, is told to ``passing`` here: a caller that goes on need not.
    """
    known = passing.noted()
    # A file and not a pipe: a value of 100 MB would go through a pipe 64 KiB at a time.
    with tempfile.TemporaryFile() if _memfd is None else os.fdopen(_memfd("result"), "w+b") as file:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as where a program that imports us has closed it
                stream.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                die_with_parent(parent)
                # What the parent left in a cycle is not the child's to collect: a session of ONNX
                # Runtime would wait for its threads, which do not exist here, for ever.
                gc.freeze()
                try:
                    ended = ChildEnd(value=function(), met=passing.noted(known))
                except BaseException as error:
                    ended = ChildEnd(error=error, met=passing.noted(known))
                file.write(_pickled(ended))
                file.flush()
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        if status:
            if passing.is_passing_death(status):
                passing.note(describe(status))
            return ChildEnd(died=describe(status), status=status)
        file.seek(0)
        ended = pickle.load(file)
    assert isinstance(ended, ChildEnd)
    passing.note(*ended.met)
    if ended.error is not None:
        passing.met(ended.error)
    return ended


def _pickled(ended: ChildEnd) -> bytes:
    try:
        data = pickle.dumps(ended)
        if ended.error is not None:
            pickle.loads(data)  # an exception whose __init__() takes more than a message does not come back
        return data
    except Exception as unfit:
        error = ended.error or unfit
        return pickle.dumps(ChildEnd(error=Elsewhere(f"{type(error).__name__}: {error}"), met=ended.met))


def describe(status: int) -> str:
    """A wait status in words: ``killed by SIGSEGV``, ``exited with 3``."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        return f"killed by {name}{hint}"
    return f"exited with {os.waitstatus_to_exitcode(status)}"


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when its parent dies; Linux only, elsewhere a no-op.

    One that died before it was asked is found by its number, ``parent``.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
