"""What lies in a remote, by name, within bounds of time and size. The first failure turns it off.

Each call runs in a thread that nobody waits for at the end: a library that blocks would hold up Ctrl-C until
its own timeout. A process that forks must not have used this: the threads behind a server's client do not
exist in the child.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from modelbuild.remote.clouds import Cloud, Patience
from modelbuild.remote.configured import Remote
from modelbuild.remote.failing import Damaged, Forbidden, Off, Trouble
from modelbuild.remote.folders import Folder
from modelbuild.remote.layout import RemoteFile
from modelbuild.store import File

T = TypeVar("T")

__all__ = ["Bucket", "Damaged", "Off", "Patience", "RemoteFile"]

_MOST_HELD = 10_000_000  # names in a whole remote: its owner's listing is bounded, too
_UPLOAD = 64 << 10  # bytes/s: slower than this, and an upload is given up


class _Served(Protocol):
    def held(self, prefix: str) -> Iterator[RemoteFile]: ...
    def chunks(self, name: str) -> Iterator[bytes]: ...
    def exists(self, name: str) -> bool: ...
    def create(self, name: str, content: bytes | Path) -> None: ...
    def delete(self, name: str) -> None: ...


class _Call:
    """One call under way: what has arrived, and whether somebody still waits for it."""

    def __init__(self) -> None:
        self.arrived = 0
        self.given_up = False
        self.done = threading.Event()


class Bucket:
    """Of one command. Without ``writes`` it only reads.

    Every method raises ``Off`` when the remote cannot be reached, is too slow, or does not let us; from then
    on, at once. Threads may share one.
    """

    def __init__(self, remote: Remote, writes: bool, limits: Patience | None = None) -> None:
        self._url = remote.url
        self._writes = writes
        self._limits = limits or Patience()
        self._place: _Served | None = None
        self._opening = threading.Lock()
        self._off: str | None = None

    @property
    def off(self) -> str | None:
        """Why nothing more is asked of it; None while it is."""
        return self._off

    def turn_off(self, why: str) -> None:
        """Ask it nothing more, for a reason of the caller's."""
        self._turned_off(why)

    def names(self, prefix: str, most: int) -> list[str]:
        """Up to ``most`` names below a folder, which ends in ``/``, in no order that means anything.

        Raises:
            Damaged: it is no folder.
        """
        return [held.name for held in self._listed(prefix, most)]

    def held(self, prefix: str) -> list[RemoteFile]:
        """All that lies below a folder: for owners, who look at the whole."""
        return self._listed(prefix, _MOST_HELD)

    def _listed(self, prefix: str, most: int) -> list[RemoteFile]:
        def do(call: _Call) -> list[RemoteFile]:
            found = []
            for held in itertools.islice(self._at().held(prefix), most):
                found.append(held)
                call.arrived += 1 << 10  # of a listing: about its bytes
                if call.given_up:
                    break
            return found

        return self._timed(do)

    def content(self, name: str, most: int) -> bytes | None:
        """The bytes of a file; None if it is not there.

        Raises:
            Damaged: it is larger than ``most``, or no plain file.
        """

        def do(call: _Call) -> bytes | None:
            found = []
            try:
                for chunk in self._at().chunks(name):
                    found.append(chunk)
                    call.arrived += len(chunk)
                    if call.given_up or call.arrived > most:
                        break
            except FileNotFoundError:
                return None
            if call.arrived > most:
                raise Damaged(f"it is larger than {most} bytes")
            return b"".join(found)

        return self._timed(do)

    def fetch(self, name: str, file: File, target: Path) -> None:
        """Write a file to ``target``, which is not there yet, hashed as it comes; then it is there.

        Raises:
            Damaged: it is missing, or has other bytes than ``file`` says: nothing is left then.
            OSError: it cannot be written here.
        """

        def do(call: _Call) -> None:
            digest = hashlib.sha256()
            try:
                with open(target, "xb") as written:
                    for chunk in self._at().chunks(name):
                        call.arrived += len(chunk)
                        if call.given_up or call.arrived > file.bytes:
                            break
                        digest.update(chunk)
                        written.write(chunk)
            except FileNotFoundError:
                if not target.parent.is_dir():
                    raise
                raise Damaged("it is not there") from None
            if call.arrived > file.bytes:
                raise Damaged(f"it has more than its {file.bytes} bytes")
            if call.arrived < file.bytes:
                raise Damaged(f"it has {call.arrived} bytes, not {file.bytes}")
            if digest.hexdigest() != file.sha256:
                raise Damaged("its bytes are not those that its name says")

        try:
            self._timed(do)
        except BaseException:
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)
            raise

    def create(self, name: str, content: bytes | Path) -> bool:
        """Put a file there, which is never written over; False if there is one."""
        if not self._writes:
            raise Off(self._url, "it was opened to be read")
        size = len(content) if isinstance(content, bytes) else content.stat().st_size

        def do(_: _Call) -> bool:
            try:
                self._at().create(name, content)
            except FileExistsError:
                return False
            except Forbidden as error:
                raise Trouble(f"not allowed to write {name}: {error}") from error
            return True

        return self._timed(do, more=size / _UPLOAD)

    def exists(self, name: str) -> bool:
        return self._timed(lambda _: self._at().exists(name))

    def delete(self, name: str) -> None:
        """Take a file away, for its owner; nothing if it is not there."""
        if not self._writes:
            raise Off(self._url, "it was opened to be read")

        def do(_: _Call) -> None:
            try:
                self._at().delete(name)
            except Forbidden as error:
                raise Trouble(f"not allowed to delete {name}: {error}") from error

        self._timed(do)

    def _at(self) -> _Served:
        with self._opening:
            if self._place is None:
                is_folder = self._url.startswith("file:")
                self._place = Folder(self._url) if is_folder else Cloud(self._url, self._limits)
            return self._place

    def _timed(self, do: Callable[[_Call], T], more: float = 0.0) -> T:
        """What ``do`` gives, in a thread of its own; with ``more`` seconds of patience than is usual.

        Raises:
            Off: it failed, took too long, or an earlier one did.
        """
        if self._off is not None:
            raise Off(self._url, self._off)
        call = _Call()
        given: list[T] = []
        failed: list[BaseException] = []

        def work() -> None:
            try:
                given.append(do(call))
            except BaseException as error:  # told in the thread that waits
                failed.append(error)
            finally:
                call.done.set()

        threading.Thread(target=work, daemon=True).start()
        try:
            self._awaited(call, self._limits.patience + more)
        except BaseException:
            call.given_up = True
            raise
        if failed and isinstance(failed[0], Trouble):
            raise self._turned_off(str(failed[0])) from failed[0]
        if failed:
            raise failed[0]
        return given[0]

    def _awaited(self, call: _Call, patience: float) -> None:
        """Wait for a call for as long as it comes on: the first byte within ``patience``, then at a pace."""
        window = self._limits.read
        began = mark = time.monotonic()
        before = 0
        while not call.done.wait(0.05 if window < 1 else 0.5):
            now = time.monotonic()
            if call.arrived == 0:
                if now - began > patience:
                    raise self._turned_off(f"no answer in {now - began:.0f} s")
                mark = now
            elif now - mark > max(window, 0.1):
                rate = (call.arrived - before) / (now - mark)
                if rate < self._limits.slowest:
                    raise self._turned_off(f"only {rate:.0f} bytes came in each second")
                mark, before = now, call.arrived

    def _turned_off(self, why: str) -> Off:
        self._off = self._off or why
        return Off(self._url, why)
