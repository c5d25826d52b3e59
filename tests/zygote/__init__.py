"""Processes that have imported what a command, or its fork server, imports; each test forks from them.

A build spends a second of its own and four on imports: torch, onnx, onnxsim. Here they are paid once in
each of pytest's processes. What is forked runs the program from ``modelbuild.quick.main`` down, and from
``worker.server.serve`` down; only the start of an interpreter is left out. A test whose subject is that start
(imports, variables that libraries read, kills) is ``cold``.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

from modelbuild import quick
from modelbuild.building.scheduling.crew import PRELOAD, WITH_TORCH
from modelbuild.machine.environment import ENVIRONMENT
from modelbuild.machine.isolate import die_with_parent
from modelbuild.worker import client
from modelbuild.worker.server import serve

ROOT = str(Path(__file__).parents[2])
_LONGEST = 1 << 20  # bytes of a request: its arguments and environment
_FILES = 8  # descriptors that come with it
start_server = client.start_server  # the real one, whatever stands in for it

COMMAND = (
    "modelbuild.cli.main", "modelbuild.building.builds", "modelbuild.building.checking",
    "modelbuild.building.explaining", "modelbuild.views.drawing", "modelbuild.views.reporting",
    "modelbuild.changes.review", "modelbuild.setup.drafting", "rich.live",
)  # fmt: skip

# What the first export of a process imports besides: libraries for themselves, so that no fact is lost. The
# last one has also exported, and keeps what is the same for each.
EXPORT = (
    "torch.export._trace", "torch._functorch.aot_autograd", "torch._inductor.decomposition",
    "torch.onnx._internal.exporter._core", "onnxscript.optimizer", "onnxscript.version_converter",
    "tests.zygote.exporter",
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """``modelbuild ARGUMENTS``; answers with its exit code.

    ``files`` are the standard streams, and the socket of the zygote that its fork server comes from.
    """

    arguments: Sequence[str]
    cwd: str
    environ: Mapping[str, str]

    def run(self, answer: socket.socket, files: Sequence[int]) -> NoReturn:
        *standard, servers = files
        _stand_in(self.cwd, self.environ, standard)
        sys.path.insert(0, self.cwd)  # as python -m has it
        sys.argv = ["modelbuild", *self.arguments]
        client.start_server = Zygote(socket.socket(fileno=servers)).server
        code = _exit_code(quick.main)
        sys.stdout.flush()
        sys.stderr.flush()
        answer.sendall(bytes([code]))
        os._exit(code)


@dataclass(frozen=True)
class Server:
    """``worker.server``; answers with its process number.

    ``files`` are its socket, and the standard streams.
    """

    preload: Sequence[str]
    cwd: str
    environ: Mapping[str, str]

    def run(self, answer: socket.socket, files: Sequence[int]) -> NoReturn:
        os.setsid()
        control, *standard = files
        _stand_in(self.cwd, self.environ, standard)
        answer.sendall(os.getpid().to_bytes(8, "big"))
        answer.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serve(socket.socket(fileno=control), self.preload)


def _stand_in(cwd: str, environ: Mapping[str, str], standard: Sequence[int]) -> None:
    """Take a folder, an environment and the standard streams, as a new process has them."""
    for number, file in enumerate(standard):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8", errors=errors, closefd=False)
        for number, mode, errors in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))
    )
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)


def _exit_code(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


# ---- the zygote --------------------------------------------------------------------------------


def main() -> NoReturn:
    """``python -c '…main()' SOCKET MODULE…``: import these modules, then fork for each request."""
    if ROOT in sys.path[:-1]:  # where this package is installed from here: a command has it once
        sys.path.pop()
    requests = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(os.getppid())
    gc.disable()
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.freeze()
    while True:
        ready, _, _ = select.select([requests], [], [], 1)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if ready:
            data, files, _, _ = socket.recv_fds(requests, _LONGEST, _FILES)
            if not data:
                os._exit(0)
            _fork(requests, data, files)


def _fork(requests: socket.socket, data: bytes, files: Sequence[int]) -> None:
    parent = os.getpid()
    if os.fork() == 0:
        try:
            die_with_parent(parent)
            requests.close()
            gc.enable()
            answer, *rest = files
            kind, fields = json.loads(data)
            {"Command": Command, "Server": Server}[kind](**fields).run(socket.socket(fileno=answer), rest)
        finally:
            traceback.print_exc()
            os._exit(1)
    for file in files:
        os.close(file)


@dataclass(frozen=True)
class _Forked:
    """A server that is nobody's child here: its end is seen through ``ended``, a pidfd."""

    pid: int
    ended: int | None

    def wait(self) -> None:
        if self.ended is not None:
            select.select([self.ended], [], [])
            os.close(self.ended)


@dataclass(frozen=True)
class Zygote:
    """The other end of ``main``'s socket: who holds it may ask."""

    requests: socket.socket

    @classmethod
    def start(cls, modules: Sequence[str], pythonpath: str | None) -> Zygote:
        """One that imports ``modules`` first. It ends with this process."""
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = "import sys; sys.path.append(sys.argv.pop(1)); from tests.zygote import main; main()"
        subprocess.Popen(
            [sys.executable, "-P", "-c", program, ROOT, str(theirs.fileno()), *modules],
            pass_fds=[theirs.fileno()],
            env={**environ, **({"PYTHONPATH": pythonpath} if pythonpath else {}), **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        return cls(mine)

    def ask(self, request: Command | Server, *files: int) -> socket.socket:
        """Have it fork. What the fork answers comes on the socket, and its end."""
        mine, theirs = socket.socketpair()
        with theirs:
            data = json.dumps([type(request).__name__, vars(request)]).encode()
            socket.send_fds(self.requests, [data], [theirs.fileno(), *files])
        return mine

    def server(
        self,
        control: socket.socket,
        preload: Sequence[str],
        environ: Mapping[str, str],
        prefix: Sequence[str],
    ) -> subprocess.Popen[bytes]:
        """``worker.client.start_server``, but forked where no ``prefix`` wants to see a new process."""
        if prefix:
            return start_server(control, preload, environ, prefix)
        request = Server(preload, os.getcwd(), dict(environ))
        nothing = os.open(os.devnull, os.O_RDONLY)
        with self.ask(request, control.fileno(), nothing, 1, 2) as answer:
            os.close(nothing)
            pid = int.from_bytes(answer.recv(8), "big")
        try:
            forked = _Forked(pid, os.pidfd_open(pid))
        except ProcessLookupError:
            forked = _Forked(pid, None)
        return cast("subprocess.Popen[bytes]", forked)


@functools.cache
def commands(pythonpath: str | None = None) -> Zygote:
    """Where commands come from, with this ``PYTHONPATH`` since their interpreter started."""
    return Zygote.start(COMMAND, pythonpath)


@functools.cache
def servers(pythonpath: str | None = None) -> Zygote:
    """Where fork servers come from."""
    return Zygote.start((*WITH_TORCH, *PRELOAD, *EXPORT), pythonpath)


def run(
    arguments: Sequence[str], cwd: Path, environ: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """``modelbuild ARGUMENTS``, as ``subprocess.run`` would run it.

    Raises:
        TimeoutError: it has not ended in time.
    """
    time.sleep(0.04)  # as a start takes: of a recipe that is saved just now, no state is kept
    request = Command(arguments, str(cwd), dict(environ))
    with (
        open(os.devnull) as nothing,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        path = environ.get("PYTHONPATH")
        files = (nothing.fileno(), out.fileno(), err.fileno(), servers(path).requests.fileno())
        with commands(path).ask(request, *files) as answer:
            answer.settimeout(timeout)
            code = answer.recv(1)
        out.seek(0)
        err.seek(0)
        said = out.read(), err.read()
    return subprocess.CompletedProcess(arguments, code[0] if code else -signal.SIGKILL, *said)


def on_the_path(environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[int, ...]]:
    """An environment in which ``modelbuild`` is forked, too, and the descriptors to pass on."""
    passed = commands().requests.fileno(), servers().requests.fileno()
    folder = Path(__file__).parent
    return {
        **environ, "PATH": f"{folder}{os.pathsep}{environ['PATH']}", "PYTHON": sys.executable,
        "ZYGOTE": ",".join(map(str, passed)),
    }, passed  # fmt: skip
