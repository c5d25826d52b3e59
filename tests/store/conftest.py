"""A store, what is put into one, and small disks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelbuild.base.keys import digest, full_key
from modelbuild.store import Entry, Store, Tree


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def made(store: Store, text: str = "weights", size: int = 0) -> Tree:
    """An object of two files."""
    folder = store.workspace()
    (folder / "model").write_text(text.ljust(size))
    (folder / "other").write_text("same")
    return store.put(folder)


def facts(letter: str = "a") -> dict[str, str]:
    return {"step": "x", "case": letter}


def lookup_key(letter: str = "a") -> str:
    return digest(facts(letter))


def entry(tree: Tree, key: str = "b", of: str = "a") -> Entry:
    """An entry for the facts of ``lookup_key(of)``; another one for each ``key``."""
    read = {"env E": None, "env F": key}
    return Entry(full_key(facts(of), read), tree, facts(of), read, data={"error": 0.25})


def damaged(path: Path, old: str, new: str) -> None:
    """Change a file of the store in place, as a bad disk does."""
    data = path.read_bytes()
    assert old.encode() in data
    path.chmod(0o644)
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))


def fill(folder: Path) -> None:
    """Leave no room on a disk."""
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system in memory; again with other options to change it."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        if os.geteuid() != 0:
            pytest.skip("needs root to mount a small file system")
        more = "remount," if mounted else ""
        command = ["mount", "-t", "tmpfs", "-o", more + options, "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("file systems cannot be mounted here")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class Late(BaseException):
    """Nobody catches it."""


@pytest.fixture
def in_time() -> Iterator[None]:
    """A pipe in the place of a file would be waited for, for ever."""

    def late(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
