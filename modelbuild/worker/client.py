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
from typing import Any

from modelbuild.worker import wire


@dataclass(frozen=True)
class Finished:
    """A job's end: its result, or ``None`` and how it died. ``peak`` is resident memory in bytes."""

    token: Any
    result: Any
    status: int | None
    peak: int


class Link:
    """A server that can be given jobs: the first process, or a model's host."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.jobs: dict[int, _Job] = {}


@dataclass
class _Job:
    token: Any
    channel: socket.socket
    result: Any = None
    ended: wire.Exited | None = None
    closed: bool = False


class Workers:
    """All child processes of one command. Use as a context manager: leaving it ends them."""

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str]) -> None:
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        mine, theirs = socket.socketpair()
        program = "from modelbuild.worker.server import main; main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(theirs.fileno()), *preload],
            pass_fds=[theirs.fileno()],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the command alone, which then ends all of them
        )
        theirs.close()
        self.first = Link(mine)
        self._watch(mine, self.first)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def submit(self, link: Link, job: Any, token: Any) -> None:
        """Have ``link`` fork a child that runs ``job``; ``token`` comes back with its end."""
        mine, theirs = socket.socketpair()
        number = next(self._numbers)
        record = _Job(token, mine)
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

    def wait(self, timeout: float | None = None) -> Iterator[Finished]:
        """What finished, as soon as something did or after ``timeout`` seconds."""
        for key, _ in self._selector.select(timeout):
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
            if record.closed or record.result is not None or gone.status:
                yield from self._finish(link, gone.job, record)

    def _channel(self, link: Link, record: _Job) -> Iterator[Finished]:
        try:
            record.result, _ = wire.receive(record.channel)
        except (EOFError, OSError):
            record.closed = True
            self._unwatch(record.channel)
        if getattr(record.result, "hosting", False):
            yield Finished(record.token, record.result, None, 0)
            return
        if record.ended is not None:
            number = next(n for n, r in link.jobs.items() if r is record)
            yield from self._finish(link, number, record)

    def _finish(self, link: Link, number: int, record: _Job) -> Iterator[Finished]:
        del link.jobs[number]
        if not record.closed and record.result is None:
            with contextlib.suppress(EOFError, OSError):  # sent just before it died
                record.channel.settimeout(1)
                record.result, _ = wire.receive(record.channel)
        if not getattr(record.result, "hosting", False):
            self._unwatch(record.channel)
            record.channel.close()
        ended = record.ended
        assert ended is not None
        yield Finished(record.token, record.result, ended.status, ended.peak)

    def _gone(self, link: Link) -> Iterator[Finished]:
        """The server itself died: every job it had is lost."""
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
