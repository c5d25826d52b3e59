"""Folders of files, named by the digest of their listing: no folder in them, and no link."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelbuild.base import shapes
from modelbuild.base.keys import digest
from modelbuild.store import inside, locks, sessions
from modelbuild.store.files import File, hashed, remove
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
        inside.made(place.parent, self.layout.root)
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
        """Where an object is, or None if it is gone, or is not just its files, each of its size."""
        place = self.layout.object(tree.digest)
        if not inside.is_folder(place, self.layout.root):
            return None
        try:
            sizes = _sizes(place)
        except OSError:
            return None
        return place if sizes == {name: file.bytes for name, file in tree.files.items()} else None

    def intact(self, tree: Tree) -> bool:
        """Whether an object is what its name says: its files, every byte of them, and no other."""
        place = self.layout.object(tree.digest)
        if not inside.is_folder(place, self.layout.root):
            return False
        try:
            return tree_of(place) == tree
        except OSError:
            return False

    def set_aside(self, name: str) -> None:
        """Take a damaged object out of the store, so that it is made again; it is kept for a look.

        Raises:
            OSError: the cache cannot be written.
        """
        place = self.layout.object(name)
        if not os.path.lexists(place):
            return  # another process did it, and what it set aside is still to be looked at
        aside = self.layout.aside(name)
        for parent in (place.parent, aside.parent):
            inside.made(parent, self.layout.root)
        remove(aside)
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            place.rename(aside)


def named(files: Mapping[str, File]) -> Tree:
    """The object that consists of these files."""
    return Tree(digest({name: [file.sha256, file.bytes] for name, file in files.items()}), files)


def tree_of(folder: Path) -> Tree:
    """What is in a folder, and the digest that names it.

    Raises:
        OSError: it cannot be read, or there is something else in it than files.
    """
    files = {}
    for name in sorted(_sizes(folder)):
        with open(inside.opened(folder / name, folder), "rb") as file:
            files[name] = hashed(file)
    return named(files)


def _sizes(folder: Path) -> dict[str, int]:
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            seen = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(seen.st_mode) or not shapes.name(entry.name):
                said = "it is no plain file, and an object of the cache has no others"
                raise OSError(errno.EINVAL, said, entry.path)
            found[entry.name] = seen.st_size
    return found


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
