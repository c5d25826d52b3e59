"""What a program and its children opened, as ``strace`` saw it. Reading its output is pure."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from modelbuild.base.errors import Diagnostic, ToolchainError

# `?` skips a call that this processor does not have. Forks tell whose child a program is.
_CALLS = "?open,?openat,?openat2,?creat,?execve,?execveat,?clone,?clone3,?fork,?vfork"
# -I2: it can be ended, and then writes what it has; with -o alone it would block signals.
_OPTIONS = ("-f", "-q", "-y", "-I2", "-e", "signal=none", "-e", f"trace={_CALLS}")
# Only the traced calls stop the program: importing torch takes 1.1 times as long, and not 2.6 times.
_FAST = "--seccomp-bpf"
_PATIENCE = 20.0  # s, for `strace true`

_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_OPEN = re.compile(r"(open|openat|openat2|creat)\(")
_RESULT = re.compile(r"= \d+<((?:[^<>\\]|\\.)*)>(?:\(deleted\))?$")  # strace escapes < and > in a path
_FLAGS = re.compile(r'\w+\((?:\w+(?:<(?:[^<>\\]|\\.)*>)?, )?"(?:[^"\\]|\\.)*", (?:{flags=)?(O_[A-Z_|]+)')
_EXEC = re.compile(r'execve(?:at)?\([^"]*"((?:[^"\\]|\\.)*)".* = 0$')
_FORK = re.compile(r"(?:clone3?|v?fork)\(.* = (\d+)$")
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|[0-7]{1,3}|.)")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "v": "\v", "f": "\f", "a": "\a", "b": "\b"}


@dataclass
class Opened:
    """``read``: what was read before the program itself had made it, and by which other program (None:
    by the one that was traced, or a fork of it). ``written``: what was opened to be written."""

    read: dict[str, str | None] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)


def command(out: Path) -> list[str]:
    """What to put before a command so that it is traced into ``out``.

    Raises:
        ToolchainError: ``tracer-missing``: there is no strace, or it may not trace here.
    """
    if sys.platform != "linux":
        raise _missing(
            f"there is no tracer for {sys.platform}: strace needs Linux", "run it in a Linux container"
        )
    tracer = shutil.which("strace")
    if tracer is None:
        hint = "install it: `apt-get install strace`, `dnf install strace`, `apk add strace`"
        raise _missing("strace is not installed", hint)
    said = ""
    for options in ((*_OPTIONS, _FAST), _OPTIONS):
        try:
            tried = subprocess.run(
                [tracer, *options, "-o", os.devnull, "true"], capture_output=True, timeout=_PATIENCE
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
            continue
        if tried.returncode == 0:
            return [tracer, *options, "-o", str(out)]
        lines = tried.stderr.decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else f"it exits with {tried.returncode}"
    hint = "a container needs `--cap-add SYS_PTRACE`; see also /proc/sys/kernel/yama/ptrace_scope"
    raise _missing(f"strace may not trace here: {said}", hint)


def _missing(message: str, hint: str) -> ToolchainError:
    return ToolchainError(Diagnostic("tracer-missing", message, hint))


def opened(lines: Iterable[str]) -> Opened:
    """The files in the output of a traced command, by the paths that they have without symlinks.

    A folder that is listed is not among them, nor a file that is not there.
    """
    found = Opened()
    readers: dict[str, str] = {}
    made: set[str] = set()
    programs: dict[str, str] = {}
    parents: dict[str, str] = {}
    started: dict[str, str] = {}  # calls that another process came in between of
    first = None
    for line in lines:
        process, _, call = line.strip().partition(" ")
        call = call.strip()
        first = first or process
        if call.endswith("<unfinished ...>"):
            started[process] = call.removesuffix("<unfinished ...>").rstrip()
            continue
        if resumed := _RESUMED.match(call):
            call = started.pop(process, "") + resumed[1]
        if _OPEN.match(call):
            result = _RESULT.search(call)
            if result is None:
                continue
            path, does = _plain(result[1]), _does(call)
            if does in ("makes", "writes"):
                found.written.add(path)
            if does == "makes" and path not in readers:
                made.add(path)
            elif does == "reads" and path not in made:
                readers.setdefault(path, process)
        elif fork := _FORK.match(call):
            parents[fork[1]] = process
        elif (run := _EXEC.match(call)) and process != first:
            programs[process] = _plain(run[1])
    found.read = {path: _program(process, programs, parents) for path, process in readers.items()}
    return found


def _does(call: str) -> str | None:
    """What an open is for: ``reads``, ``writes``, or ``makes``: then nothing of an older file is left."""
    if call.startswith("creat("):
        return "makes"
    flags = _FLAGS.match(call)
    words = set(flags[1].split("|")) if flags else set()
    if words & {"O_PATH", "O_DIRECTORY", "O_TMPFILE"}:
        return None
    if words & {"O_TRUNC", "O_EXCL"}:
        return "makes"
    return "writes" if "O_WRONLY" in words else "reads"


def _program(process: str, programs: dict[str, str], parents: dict[str, str]) -> str | None:
    """The program that a process became, or that it is a fork of."""
    seen = set()
    while process not in seen:
        if process in programs:
            return programs[process]
        seen.add(process)
        process = parents.get(process, process)
    return None


def _plain(quoted: str) -> str:
    """A path as it is: ``\\n`` and ``\\377`` stand for bytes."""

    def byte(match: re.Match[str]) -> str:
        code = match[1]
        if code[0] in "01234567":
            return chr(int(code, 8))
        return chr(int(code[1:], 16)) if len(code) == 3 else _LETTERS.get(code, code)

    return os.fsdecode(_ESCAPE.sub(byte, quoted).encode("latin-1"))
