"""Folders of files, named by the digest of their listing."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelbuild.keys import digest
from modelbuild.store import locks, sessions
from modelbuild.store.files import File, hash_file
from modelbuild.store.layout import Layout


@dataclass(frozen=True)
class Tree:
    """An object: its digest and what is in it."""

    digest: str
    files: Mapping[str, File]


class Objects:
    """The objects of a cache."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def put(self, folder: Path) -> Tree:
        """Move a finished workspace into the store, pinned by its session; equal content is stored once.

        Raises:
            OSError: the disk is full, or the cache cannot be written; the object is not there then.
        """
        tree = tree_of(folder)
        for file in tree.files:
            (folder / file).chmod(0o444)
        place = self.layout.object(tree.digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        with locks.among(self.layout.gate):  # from here on no collection takes it
            if (session := sessions.session_of(folder, self.layout)) is not None:
                sessions.note(session, tree.digest)
            there = not _moved(folder, place)
        while there and not self.intact(tree):
            self.set_aside(tree.digest)
            there = not _moved(folder, place)  # or another build was quicker: is its object intact?
        if there:
            shutil.rmtree(folder, ignore_errors=True)
        touch(place)
        return tree

    def folder(self, tree: Tree) -> Path | None:
        """Where an object is, or None if it, or one of its files, is gone or has another size."""
        place = self.layout.object(tree.digest)
        try:
            for name, file in tree.files.items():
                if os.stat(place / name).st_size != file.bytes:
                    return None
            return place if tree.files or place.is_dir() else None
        except OSError:
            return None

    def intact(self, tree: Tree) -> bool:
        """Whether every byte of an object is what its name says."""
        place = self.layout.object(tree.digest)
        try:
            return place.is_dir() and all(hash_file(place / n) == file for n, file in tree.files.items())
        except OSError:
            return False

    def set_aside(self, name: str) -> None:
        """Take a damaged object out of the store, so that it is made again; it is kept for a look.

        Raises:
            OSError: the cache cannot be written.
        """
        if not self.layout.object(name).exists():
            return  # another process did it, and what it set aside is still to be looked at
        aside = self.layout.aside(name)
        aside.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            self.layout.object(name).rename(aside)


def tree_of(folder: Path) -> Tree:
    """What is in a folder, and the digest that names it."""
    files = {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return Tree(digest({name: [file.sha256, file.bytes] for name, file in files.items()}), files)


def touch(place: Path) -> None:
    """An object is used now: collections take those first that were not used for longest."""
    with contextlib.suppress(OSError):
        os.utime(place)


def _moved(folder: Path, place: Path) -> bool:
    """Rename, or False if something is there already."""
    try:
        folder.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        return False
    return True
