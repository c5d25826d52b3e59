"""The files of results that are from the remote cache: here when something needs them, and not before."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from modelbuild.base.keys import digest
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Run
from modelbuild.remote.side_by_side import each
from modelbuild.store import Store, Tree

_AT_ONCE = 4  # objects, of which each has its files fetched side by side


class Fetcher:
    """Of one command. Without a remote nothing is fetched."""

    def __init__(self, store: Store, judge: Judge) -> None:
        self._store = store
        self._judge = judge
        self._seconds: dict[str, float] = {}  # that it took to fetch an object, until they are told
        self.whole: set[str] = set()  # objects that were fetched, and so hashed, by this command

    def folder(self, run: Run, maker: str) -> Path | None:
        """Where the files of an action's result are, fetched if they have to be. None if they are neither
        here nor to be had; then the remote's word on them is not taken again."""
        ended = run.ended[maker]
        assert ended.tree is not None
        folder = self._store.folder(ended.tree)
        if folder is not None or ended.signed is None:
            self._took(run, maker)
            return folder
        if not self._fetched(ended.tree):
            self._judge.lost.add(ended.tree.digest)
            return None
        self._took(run, maker)
        return self._store.folder(ended.tree)

    def ahead(self, rows: Iterable[tuple[Run, str]]) -> None:
        """Have the files of these actions' results here, several at a time. What is not to be had is found
        out when somebody asks for it."""
        trees = [run.ended[maker].tree for run, maker in rows]
        absent = {t.digest: t for t in trees if t is not None and self._store.pin(t) is None}
        each(self._fetched, absent.values(), _AT_ONCE)

    def _fetched(self, tree: Tree) -> bool:
        started = time.monotonic()
        came = self.has(tree)
        self._seconds[tree.digest] = time.monotonic() - started
        return came

    def _took(self, run: Run, maker: str) -> None:
        ended = run.ended[maker]
        if ended.tree is not None and (seconds := self._seconds.pop(ended.tree.digest, None)) is not None:
            run.ended[maker] = replace(ended, seconds=ended.seconds + seconds)

    def has(self, tree: Tree) -> bool:
        """Whether an object is here, fetched if it has to be: it is pinned then."""
        if self._store.pin(tree) is not None:
            return True
        remote = self._judge.remote
        try:
            if not tree.files:
                return self._store.put(self._store.workspace()) == tree
            if remote is None or not remote.fetch(tree):
                return False
        except OSError:  # a full disk: then it is made here, which may need less
            return False
        self.whole.add(tree.digest)
        return self._store.pin(tree) is not None

    def record(self, runs: Iterable[Run]) -> None:
        """Write the entries whose files are here into the local ledger: they stand without it then."""
        for run in runs:
            for name, ended in run.ended.items():
                if ended.signed is None or ended.entry is None:
                    continue
                with contextlib.suppress(OSError):  # a full disk: then it is asked for again
                    if not ended.entry.tree.files or self._store.folder(ended.entry.tree) is not None:
                        self.has(ended.entry.tree)
                        known = self._judge.facts_of(run, run.actions[name])
                        self._store.record(digest(known), ended.entry)
