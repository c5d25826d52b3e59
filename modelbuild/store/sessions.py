"""A process at work in a store: its folder, which its lock keeps from being swept, and its pins."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from modelbuild.store import inside, locks
from modelbuild.store.layout import GONE, Layout

_PINS = "pins"
_MOST_BYTES = 1 << 26  # a million pins


class Session:
    """This process in ``work/<session>/``, until ``end()`` or its death.

    Children forked by it, or by servers that it started, work in the folders that they are given
    and pin through them; they never begin a session and hold no lock.

    Raises:
        OSError: the cache cannot be written.
    """

    def __init__(self, layout: Layout) -> None:
        self._numbers = itertools.count()
        self._process = os.getpid()
        while True:
            self.folder = layout.work / os.urandom(8).hex()
            inside.made(self.folder, layout.root)
            # Until it is locked it looks like one that a dead process left, and may be swept.
            with contextlib.suppress(FileNotFoundError):
                if (lock := locks.take(self.folder / "lock")) is not None:
                    self._lock = lock
                    return

    def workspace(self) -> Path:
        """A new empty folder."""
        while True:
            folder = self.folder / str(next(self._numbers))
            with contextlib.suppress(FileExistsError):  # made by a child that has this object, too
                folder.mkdir()
                return folder

    def end(self) -> None:
        """Remove everything that is this session's."""
        if self._process == os.getpid():
            shutil.rmtree(self.folder, ignore_errors=True)
            self._lock.release()


def note(session: Path, name: str) -> None:
    """Write an object into a session's pins. The caller keeps collections out meanwhile.

    Raises:
        OSError: the cache cannot be written, or the session has ended.
    """
    fd = inside.opened_here(session / _PINS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"\n{name}\n".encode())  # a line that was cut short spoils only itself
    finally:
        os.close(fd)


def session_of(folder: Path, layout: Layout) -> Path | None:
    """The session that a workspace belongs to, however its path is spelled."""
    session = folder.parent
    return session if os.path.samefile(session.parent, layout.work) else None


def pins(sessions: Iterable[Path]) -> set[str]:
    """The objects that sessions use."""
    return {line for session in sessions for line in _lines(session / _PINS) if line}


def sweep(layout: Layout) -> None:
    """Remove the sessions whose process is gone; all stay where locks cannot tell."""
    for session in layout.sessions():
        dead = locks.left_behind(session / "lock")
        if dead is not None:
            # It may be one that is just beginning, which must not lock a file in here now: away first.
            gone = session.with_name(os.urandom(8).hex() + GONE)
            with contextlib.suppress(OSError):
                session.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
            dead.let_go()


def _lines(path: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from inside.content(path, path.parent, _MOST_BYTES).decode(errors="replace").splitlines()
