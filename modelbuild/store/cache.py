"""A cache folder, as builds use it."""

from __future__ import annotations

import contextlib
import os
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbuild.base.errors import Diagnostic, ModelbuildError
from modelbuild.machine import home
from modelbuild.store import inside, locks, logs, sessions, tally
from modelbuild.store.entries import Entry
from modelbuild.store.layout import Layout
from modelbuild.store.ledger import Ledger
from modelbuild.store.locks import HeldLock
from modelbuild.store.objects import Objects, Tree, touch
from modelbuild.store.sessions import Session
from modelbuild.store.tally import Tally


class Store:
    """A cache folder, and this process's session in it, which begins when something is first written.

    Whatever only reads works on a cache that cannot be written. The session ends with ``close()``,
    with the object, or with the process.

    Raises:
        ModelbuildError: ``cache-exposed``: others can have made what lies there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._be_ours()
        self.layout = Layout(self.root)
        self._objects = Objects(self.layout)
        self._ledger = Ledger(self.layout)
        self._session: Session | None = None
        self._pinned: set[str] = set()
        self._end: weakref.finalize[..., Store] | None = None

    def close(self) -> None:
        """End the session: its folders and its pins are gone."""
        if self._end is not None:
            self._end()
        self._session, self._end = None, None
        self._pinned.clear()

    # ---- work ----

    def workspace(self) -> Path:
        """A new empty folder on the store's file system, for a step to write into."""
        return self._begun().workspace()

    def discard(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what processes that are gone left at work; every session begins with it."""
        sessions.sweep(self.layout)

    def lock(self, name: str) -> HeldLock | None:
        """The one lock of this name, which may be any text; None while anybody holds it. Never waits.

        Where nothing can be written, or the file system cannot lock, it protects nothing.
        """
        path = self.layout.lock(name)
        try:
            inside.made(path.parent, self.root)
            lock = locks.take(path)
        except OSError:
            return HeldLock(path, None, sure=False)
        if lock is not None and lock.fd is not None:
            with contextlib.suppress(OSError):  # a full disk: held, only not signed
                os.pwrite(lock.fd, f"{os.getpid():<20}\n".encode(), 0)
        return lock

    def holder(self, name: str) -> int | None:
        """The process that holds the lock of this name, to say so; None if nobody does.

        It may be one of another container or machine: a number for people.
        """
        path = self.layout.lock(name)
        if not locks.is_held(path):
            return None
        try:
            return int(inside.content(path, self.root, 1 << 10))
        except (OSError, ValueError):
            return None

    # ---- objects ----

    def put(self, folder: Path) -> Tree:
        """Move a finished workspace into the store, and pin it for the session it belongs to."""
        return self._objects.put(folder)

    def pin(self, tree: Tree) -> Path | None:
        """As ``folder``, and no collection deletes the object while this session lives."""
        if tree.digest in self._pinned:
            return self._objects.folder(tree)
        with locks.among(self.layout.gate):
            with contextlib.suppress(OSError):  # nobody collects in a cache that cannot be written
                sessions.note(self._begun().folder, tree.digest)
                self._pinned.add(tree.digest)
            place = self._objects.folder(tree)
        if place is not None:
            touch(place)
        return place

    def folder(self, tree: Tree) -> Path | None:
        """Where an object is, or None if it is gone, or is not just its files, each of its size."""
        return self._objects.folder(tree)

    def intact(self, tree: Tree) -> bool:
        """Whether every byte of an object is what its name says."""
        return self._objects.intact(tree)

    def set_aside(self, name: str) -> None:
        """Take a damaged object out of the store, so that it is made again."""
        self._objects.set_aside(name)

    # ---- what is known ----

    def entries(self, lookup_key: str) -> list[Entry]:
        """What the ledger knows for these facts, newest first; unreadable entries do not count."""
        return self._ledger.entries(lookup_key)

    def has_entries(self, lookup_key: str) -> bool:
        """Whether there may be any: a look that reads none of them."""
        return self._ledger.has(lookup_key)

    def record(self, lookup_key: str, entry: Entry) -> None:
        self._ledger.record(lookup_key, entry)

    def history(self, recipe: str) -> dict[str, Any]:
        """What each action knew when this recipe was last built; empty if never."""
        return self._ledger.history(recipe)

    def remember(self, recipe: str, actions: Mapping[str, Any]) -> None:
        """Keep what each action knew: ``facts``, ``discovered``, and its object's digest as ``tree``.

        ``recipe`` is the file's absolute path: while it exists, these objects are not collected.
        """
        self._ledger.remember(recipe, actions)

    def log(self, base: Path, recipe: str, action: str) -> Path:
        """Where an action's output goes, of the recipe of this name in ``base``; its folder is there."""
        return logs.made(self.layout, base, recipe, action)

    def log_path(self, base: Path, recipe: str, action: str) -> Path:
        """As ``log``, for who only says where that is."""
        return logs.path(self.layout, base, recipe, action)

    def count(self, hits: int, misses: int, seconds_saved: float, bytes_reused: int) -> None:
        """Add a build to what the cache was good for; a build never fails for that."""
        with contextlib.suppress(OSError):
            tally.add(
                self.layout.tally, self.layout.gate, Tally(1, hits, misses, seconds_saved, bytes_reused)
            )

    def _be_ours(self) -> None:
        """Raises ModelbuildError: the folder lies where everybody can make one, and is not this user's."""
        found = home.exposed(str(self.root))
        if found is None:
            return
        place, why = found
        behind = "" if place == str(self.root) else f" cannot be trusted: {place}"
        raise ModelbuildError(
            Diagnostic(
                "cache-exposed",
                f"the cache folder {self.root}{behind} {why}, and lies where everybody can make a folder",
                "name one of your own with `--cache-dir` or MODELBUILD_CACHE_DIR, or set HOME; or remove "
                "this one, or take it from the others (`chmod go-w`), if you know what is in it",
            )
        )

    def _begun(self) -> Session:
        if self._session is None:
            inside.made(self.root, self.root)
            self._be_ours()  # somebody may have been quicker
            self.sweep()
            self._session = Session(self.layout)
            self._end = weakref.finalize(self, self._session.end)
        return self._session
