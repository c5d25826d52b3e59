"""The locks of what runs: two builds never do the same work at the same time."""

from __future__ import annotations

import os
from collections.abc import Sequence

from modelbuild.base.keys import digest
from modelbuild.building.scheduling.runs import HOST, Reporter, Run
from modelbuild.plan.actions import Action
from modelbuild.store import Store


class Holding:
    """Of one command: a lock is held for an action, or for a model's process (``HOST``)."""

    def __init__(self, store: Store, reporter: Reporter) -> None:
        self._store = store
        self._reporter = reporter
        self._told: set[tuple[str, str]] = set()

    def takes(self, run: Run, action: Action, gpu: bool) -> bool:
        """Take what the action needs: its own lock, the model's, and the GPU's. False if another build
        has one of them, which is said once."""
        if action.beside_model and not self._taken(run, HOST, action, [_model_lock(run)]):
            return False
        names = [f"action {run.judged[action.id].lookup_key}"] + (["gpu"] if gpu else [])
        return self._taken(run, action.id, action, names)

    def release(self, run: Run, holder: str) -> None:
        for lock in run.locks.pop(holder, ()):
            lock.release()

    def release_all(self, runs: Sequence[Run]) -> None:
        for run in runs:
            for holder in list(run.locks):
                self.release(run, holder)

    def _taken(self, run: Run, holder: str, action: Action, names: Sequence[str]) -> bool:
        """Take these locks for ``holder``, all or none, unless it has them."""
        if holder in run.locks:
            return True
        for name in names:
            lock = self._store.lock(name)
            if lock is None:
                self.release(run, holder)
                self._tell_waiting(run, action, name)
                return False
            run.locks.setdefault(holder, []).append(lock)
        return True

    def _tell_waiting(self, run: Run, action: Action, name: str) -> None:
        if (run.identity, action.id) not in self._told:
            self._told.add((run.identity, action.id))
            holder = self._store.holder(name)
            who = f"another build (process {holder})" if holder else "another build"
            if holder == os.getpid():
                who = "another recipe of this command"
            self._reporter.told(run.path, action.id, f"{who} is at it; waiting for its result")


def _model_lock(run: Run) -> str:
    """One build makes a model for these actions, and the others wait for all of them at once: with
    a lock per action alone, two builds would each get one and both make the model."""
    return "model " + digest(sorted(run.judged[a.id].lookup_key for a in run.waiting() if a.beside_model
                                    and a.id in run.judged))  # fmt: skip
