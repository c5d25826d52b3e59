"""A process that has imported what jobs need and forks one child per job.

A fork costs milliseconds where a fresh interpreter costs seconds of imports, and shares their
memory. The server itself runs no model code and opens no thread pool, so that its children may.
A job may turn its child into a server too (see ``worker.jobs.HostModel``): that is how the
exporter and the reference run share one model in memory.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Any, NoReturn

from modelbuild.machine.isolate import die_with_parent
from modelbuild.worker import wire


def serve(control: socket.socket, preload: Sequence[str] = (), state: Any = None) -> NoReturn:
    """Fork a child for each job that comes in on ``control``, and report each that ends.

    ``preload`` is imported one module at a time while no job waits. Ends with its control socket,
    and takes its children along.
    """
    server = _Server(control, state)
    waiting = deque(preload)
    while True:
        watched: list[Any] = [control, server.wakeup]
        ready, _, _ = select.select(watched, [], [], 0 if waiting else None)
        if server.wakeup in ready:
            server.reap()
        elif control in ready:
            server.accept()
        elif waiting:
            preloaded(waiting.popleft())


def preloaded(module: str) -> None:
    """Import it, if that can be done: one that is missing or broken is the business of who needs it."""
    with contextlib.suppress(Exception):
        importlib.import_module(module)


class _Server:
    def __init__(self, control: socket.socket, state: Any) -> None:
        self.control = control
        self.state = state
        self.children: dict[int, int] = {}
        self.wakeup, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self.wakeup, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)

    def accept(self) -> None:
        try:
            (number, job), fd = wire.receive(self.control)
        except (EOFError, OSError):
            for pid in self.children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os._exit(0)
        assert fd is not None
        for module in job.needs:
            preloaded(module)
        gc.freeze()  # the collector would touch, and so copy, every shared page
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become(job, fd, parent)
        os.close(fd)
        self.children[pid] = number

    def reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wakeup, 4096):
                pass
        while self.children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                gone = wire.Exited(self.children.pop(pid), status, usage.ru_maxrss * 1024)
                with contextlib.suppress(OSError):
                    wire.send(self.control, gone)

    def _become(self, job: Any, fd: int, parent: int) -> NoReturn:
        """In the child: run the job, send its result, leave without cleaning up."""
        code = 1
        try:
            die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for mine in (self.wakeup, self._bell):
                os.close(mine)
            self.control.close()
            channel = socket.socket(fileno=fd)
            _redirect(job.log)
            faulthandler.enable(2)  # native code that dies leaves the line that called it
            wire.send(channel, job.run(self.state, channel))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def _redirect(log: str) -> None:
    """Standard output and standard error of this process, C libraries' too, into a file, if it can be
    written: what a library said is no reason to fail."""
    try:
        # Always a new file: what lies there may be a link, or another name of something else.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(log)
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
    except OSError:
        fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def main() -> NoReturn:
    """``python -c '…main()' FD MODULE…``: serve on an inherited socket."""
    control = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(os.getppid())  # one that is gone already has closed the socket
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])  # the caller may have blocked it
    gc.disable()  # imports make a million objects and no garbage; jobs turn it on again
    serve(control, sys.argv[2:])
