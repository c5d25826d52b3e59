"""The parent's handle on servers and their jobs: start, submit, wait, end."""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelbuild.machine import streams
from modelbuild.machine.environment import SECRETS
from modelbuild.worker import wire


@dataclass(frozen=True)
class Finished:
    """A job's end: its result, or ``None`` and how it died. ``peak`` is resident memory in bytes."""

    token: Any
    result: Any
    status: int | None
    peak: int


@dataclass(frozen=True)
class Told:
    """What a job said on its way."""

    token: Any
    text: str


HOME = str(Path(__file__).resolve().parents[2])
"""This package's own folder: at the end of the path of every process that runs steps."""


def start_server(
    control: socket.socket, preload: Sequence[str], environ: Mapping[str, str], prefix: Sequence[str]
) -> subprocess.Popen[bytes]:
    """A fork server (``worker.server``) that listens on ``control``, in a new interpreter.

    Its process number is also that of its group.
    """
    # -P: a file in the current folder must not take the place of a library in the server; what
    # the user's code may import, its host adds. So this package's own folder has to be named.
    program = (
        "import sys; sys.path.append(sys.argv.pop(1)); from modelbuild.worker.server import main; main()"
    )
    return subprocess.Popen(
        [*prefix, sys.executable, "-P", "-c", program, HOME, str(control.fileno()), *preload],
        pass_fds=[control.fileno()],
        env=environ,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches the command alone, which then ends all of them
    )


class Link:
    """A server that can be given jobs: the first process, or a model's host."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.dead = False
        self.jobs: dict[int, _Sent] = {}


@dataclass
class _Sent:
    number: int
    token: Any
    channel: socket.socket
    result: Any = None
    ended: wire.Exited | None = None
    closed: bool = False  # the channel: nothing more will come


class Workers:
    """All child processes of one command. Use as a context manager: leaving it ends them."""

    def __init__(
        self, preload: Sequence[str], environment: Mapping[str, str], prefix: Sequence[str] = ()
    ) -> None:
        """``prefix`` comes before the server's command: a tracer, say."""
        self._numbers = itertools.count()
        self._lost: list[Finished] = []
        self._selector = selectors.DefaultSelector()
        streams.complete()  # a socket must not become the server's standard output
        mine, theirs = socket.socketpair()
        given = {name: value for name, value in os.environ.items() if name not in SECRETS}
        self._process = start_server(theirs, preload, {**given, **environment}, prefix)
        theirs.close()
        self.first = Link(mine)
        self._watch(mine, self.first)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def submit(self, link: Link, job: Any, token: Any) -> None:
        """Have ``link`` fork a child that runs ``job``; ``token`` comes back with its end."""
        if link.dead:
            self._lost.append(Finished(token, None, signal.SIGKILL, 0))
            return
        mine, theirs = socket.socketpair()
        number = next(self._numbers)
        record = _Sent(number, token, mine)
        link.jobs[number] = record
        self._watch(mine, (link, record))
        with contextlib.suppress(OSError):  # a server that is gone is noticed in wait()
            wire.send(link.sock, (number, job), fd=theirs.fileno())
        theirs.close()

    def adopt(self, token: Any, link: Link) -> Link:
        """The host that a job has become: its channel is now its control socket."""
        record = next(r for r in link.jobs.values() if r.token == token)
        host = Link(record.channel)
        self._selector.modify(record.channel, selectors.EVENT_READ, host)
        return host

    def close(self, host: Link) -> None:
        """Let a host go; it ends when it notices."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(host.sock)
        host.sock.close()

    def wait(self, timeout: float | None = None) -> Iterator[Finished | Told]:
        """What finished or was told, as soon as something was or after ``timeout`` seconds."""
        lost, self._lost = self._lost, []
        yield from lost
        for key, _ in self._selector.select(0 if lost else timeout):
            owner = key.data
            if isinstance(owner, Link):
                yield from self._control(owner)
            else:
                yield from self._channel(*owner)

    def _control(self, link: Link) -> Iterator[Finished]:
        try:
            gone, _ = wire.receive(link.sock)
        except (EOFError, OSError):
            yield from self._gone(link)
            return
        record = link.jobs.get(gone.job)
        if record is not None:
            record.ended = gone
            yield from self._finish(link, record)

    def _channel(self, link: Link, record: _Sent) -> Iterator[Finished | Told]:
        """A job's word or result, or the end of its channel. Its exit is told by its server."""
        if record.number not in link.jobs:  # its exit was told first
            self._unwatch(record.channel)
            return
        word = self._take(record)
        if word is not None:
            yield Told(record.token, word.text)
        elif getattr(record.result, "hosting", False):
            yield Finished(record.token, record.result, None, 0)

    def _take(self, record: _Sent) -> wire.Word | None:
        """Read one message: a word is returned, a result is kept."""
        try:
            message, _ = wire.receive(record.channel)
        except (EOFError, OSError):
            record.closed = True
            self._unwatch(record.channel)
            return None
        if isinstance(message, wire.Word):
            return message
        record.result = message
        return None

    def _finish(self, link: Link, record: _Sent) -> Iterator[Finished]:
        """The child is gone: what it sent is in its channel now, or never."""
        del link.jobs[record.number]
        while record.result is None and not record.closed:
            self._take(record)
        if not getattr(record.result, "hosting", False):
            self._unwatch(record.channel)
            record.channel.close()
        assert record.ended is not None
        yield Finished(record.token, record.result, record.ended.status, record.ended.peak)

    def _gone(self, link: Link) -> Iterator[Finished]:
        """The server itself died: every job it had is lost."""
        link.dead = True
        self._unwatch(link.sock)
        lost = list(link.jobs.values())
        link.jobs.clear()
        for record in lost:
            self._unwatch(record.channel)
            yield Finished(record.token, record.result, signal.SIGKILL, 0)

    def _watch(self, sock: socket.socket, owner: Any) -> None:
        self._selector.register(sock, selectors.EVENT_READ, owner)

    def _unwatch(self, sock: socket.socket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)

    def end(self) -> None:
        """End every child now, and wait until they are gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
