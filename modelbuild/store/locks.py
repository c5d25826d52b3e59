"""Locks that end with their holder: flock on a file, and never a process number.

Numbers are used again, and mean nothing to another container that shares the cache; a flock is
gone the moment its process is. Only it would live on in a forked child, which inherits the open
file: so a child closes what its parent holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from modelbuild.store import inside

_held: set[HeldLock] = set()


class HeldLock:
    """An exclusive lock, held until ``release()`` or the end of this process.

    ``sure`` is False if the file system cannot lock, or nothing can be written there: then it
    protects nothing, and nobody can be told to be dead by it. ``fd`` is the open lock file.
    """

    def __init__(self, path: Path, fd: int | None, sure: bool) -> None:
        self.path = path
        self.fd = fd
        self.sure = sure
        if fd is not None:
            _held.add(self)

    def __enter__(self) -> HeldLock:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def release(self) -> None:
        """Remove the lock file and let others have it; again, or in a forked child, does nothing."""
        if self in _held:
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            self.let_go()

    def let_go(self) -> None:
        """As ``release``, but leave the file, which is not only a lock or not ours to remove."""
        if self in _held and self.fd is not None:
            _held.discard(self)
            os.close(self.fd)


def take(path: Path) -> HeldLock | None:
    """The lock on this file, which is made if need be; None while anybody holds it. Never waits.

    Raises:
        OSError: the file cannot be made or opened for writing, or is a link.
    """
    while True:
        fd = inside.opened_here(path, os.O_RDWR | os.O_CREAT)
        try:
            sure = _flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder removes the file: then this is a lock on nothing, and another may
            # hold the file that has its name now.
            if _is_at(fd, path):
                return HeldLock(path, fd, sure)
        except BlockingIOError:
            os.close(fd)
            return None
        except OSError:
            os.close(fd)
            raise
        os.close(fd)


def left_behind(path: Path) -> HeldLock | None:
    """The lock on a file whose holder is dead; None if it lives, or nobody can tell."""
    try:
        lock = take(path)
    except OSError:
        return None
    if lock is not None and not lock.sure:
        lock.let_go()
        return None
    return lock


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock on this file; also where nothing can be written."""
    try:
        fd = inside.opened_here(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        _flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


@contextlib.contextmanager
def among(path: Path) -> Iterator[bool]:
    """Wait for a shared lock on a file; False where none can be had, and nothing is protected."""
    with _waiting(path, fcntl.LOCK_SH) as sure:
        yield sure


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Wait for the exclusive lock on a file or folder; False where none can be had."""
    with _waiting(path, fcntl.LOCK_EX) as sure:
        yield sure


@contextlib.contextmanager
def _waiting(path: Path, kind: int) -> Iterator[bool]:
    try:
        fd = (
            os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            if path.is_dir()
            else inside.opened_here(path, os.O_RDWR | os.O_CREAT)
        )
    except OSError:
        yield False
        return
    lock = HeldLock(path, fd, sure=False)
    try:
        lock.sure = _flock(fd, kind)
        yield lock.sure
    finally:
        lock.let_go()


def _flock(fd: int, kind: int) -> bool:
    """Whether the file system could lock; raises BlockingIOError if it could, and somebody has it."""
    try:
        fcntl.flock(fd, kind)
    except BlockingIOError:
        raise
    except OSError:  # ENOLCK, ENOSYS, ENOTSUP, on NFS EBADF for a folder: each has its own word
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _forget() -> None:
    """In a forked child: what the parent holds is the parent's, and ends with it."""
    for lock in _held:
        if lock.fd is not None:
            os.close(lock.fd)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
