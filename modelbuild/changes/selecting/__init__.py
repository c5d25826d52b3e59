"""Which recipes a change since a git revision can touch: by their own files, and by those that the
models' code was seen to read.

What a build saw is in the cache, and less of it in the lock file. Either counts only while it still
describes what is there: a build that saw another recipe, or another content of a file, does not say
what this one reads. A recipe of which nobody knows what it reads counts as touched, with an info.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modelbuild import lockfile
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.keys import canonical
from modelbuild.changes import naming
from modelbuild.changes.naming import Named
from modelbuild.changes.seeing import Seen, seen
from modelbuild.changes.selecting.changes import Changes
from modelbuild.git import Repository
from modelbuild.lockfile import Lock
from modelbuild.lockfile.agreement import disagreements, named
from modelbuild.plan.actions import Plan
from modelbuild.plan.planning import plan
from modelbuild.recipe.finding import LOCKS, SUFFIXES
from modelbuild.recipe.loading import load
from modelbuild.state.format import unpacked_facts
from modelbuild.state.recalling import Recall
from modelbuild.store import Store
from modelbuild.trace import facts, kinds

UNKNOWN: Final = "changes-unknown"


@dataclass(frozen=True)
class Selection:
    """The recipes that a change can touch, in their order; ``notes`` where that is only not known."""

    paths: tuple[Path, ...]
    notes: Mapping[str, Diagnostic] = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    """Why a recipe counts as touched; not ``sure``: because nobody can tell."""

    words: str
    sure: bool = True


def touched(paths: Sequence[Path], rev: str, store: Store, out: Path) -> Selection:
    """Those of ``paths`` that a change since ``rev`` can touch, against the working tree.

    The revision is taken where this branch left it: what ``rev`` itself has changed since does not
    count. ``out`` is where builds publish: there a build is found that left nothing to do.

    Raises:
        RecipeError: ``git-failed``: there is no such revision, or a recipe lies in no repository.
    """
    roots: dict[Path, Path] = {}
    views: dict[Path, _View] = {}
    chosen, notes = [], {}
    for path in paths:
        folder = path.absolute().parent
        if folder not in roots:
            repository = Repository.at(folder)
            roots[folder] = repository.root
            if repository.root not in views:
                views[repository.root] = _View(Changes.since(repository, rev), store, out)
        why = views[roots[folder]].reason(path)
        if why is not None:
            chosen.append(path)
            if not why.sure:
                said = f"counted as changed since {rev}: {why.words}"
                hint = "a build in this cache, or a lock file that is current, says what the model reads"
                notes[str(path)] = Diagnostic(UNKNOWN, said, hint, level="info")
    return Selection(tuple(chosen), notes)


class _View:
    """The recipes of one repository beside its changes."""

    def __init__(self, changes: Changes, store: Store, out: Path) -> None:
        self.changes = changes
        self.store = store
        self._recall = Recall(str(store.root), str(out.absolute()), os.getcwd())
        self._now: dict[tuple[str, str | None, Path], str | None] = {}

    def reason(self, path: Path) -> Reason | None:
        """Why a change can touch the recipe; None if none can."""
        place = path.absolute()
        base = place.parent
        lock = lockfile.place(place)
        for file in (place, lock):
            for changed in self.changes.hit(str(file)):
                return _changed(changed)
        if found := self.changes.project_file(base):
            return _changed(found)
        idle = self._recall.known(str(place))
        if idle is not None:  # everything is as a build saw it, the recipe too
            return self._met([Seen(name, value) for name, value, _ in unpacked_facts(idle.facts)], base)
        try:
            recipe = load(path)
        except RecipeError:
            return Reason("the recipe cannot be read", sure=False)
        declared = tuple(naming.named(recipe))
        if met := self._met([one for one in declared if one.how != "code"], base):
            return met
        planned = plan(recipe)
        last = self.store.history(str(place))
        why = self._by_history(planned, last, base)
        if why is None or why.sure:
            return why
        if met := self._met([one for one in declared if one.how == "code"], base):
            return met  # a build would have told which of these it reads
        return self._by_lock(planned, lock, base, why)

    def _by_history(self, planned: Plan, last: Mapping[str, Any], base: Path) -> Reason | None:
        """By what the last build here saw, if that is what a build would see now."""
        if not last:
            return Reason("it was never built with this cache", sure=False)
        asked = [action for action in planned.actions if action.discovers]  # and none that it had once
        facts_seen = seen(last, [action.id for action in asked])
        if met := self._met(facts_seen, base):
            return met
        for action in asked:
            memory = last.get(action.id)
            if memory is None:
                return Reason(f"its last build here has no `{action.id}`", sure=False)
            if memory.get("unstable"):
                return Reason("files were saved while its last build here read them", sure=False)
            if memory.get("passing"):
                return Reason(f"its last build here went on after {memory['passing'][0]}", sure=False)
            if not _knobs(action.step.knobs()).items() <= dict(memory["facts"]).items():
                return Reason("its last build here was of another recipe", sure=False)
        for one in facts_seen:
            if self._moved(one.fact, one.value, base):
                return Reason(f"its last build here saw another `{one.fact}`", sure=False)
        return None

    def _by_lock(self, planned: Plan, lock: Path, base: Path, without: Reason) -> Reason | None:
        """By the files that the lock file names, if it is of this recipe and these files."""
        if not lock.exists() or (lock.is_symlink() and not self.changes.holds(str(lock))):
            return without
        try:
            locked = lockfile.load(lock)
        except RecipeError:
            return Reason("its lock file cannot be read", sure=False)
        if met := self._met(naming.locked(locked.files), base):
            return met
        if said := disagreements(locked, planned, base, self.changes.holds):
            return Reason(f"its lock file is not current: {said[0]}", sure=False)
        if found := self._arrival(locked, base):
            return Reason(f"{found} came or went, and a lock file does not tell what that means", sure=False)
        return None

    def _arrival(self, lock: Lock, base: Path) -> str | None:
        """A file that came or went where the model's code may look for some; recipes are not looked for."""
        folders = {os.path.dirname(os.path.join(base, named(name))) for name in lock.files}
        folders |= {str(base), *facts.search_path()}
        for folder in sorted(folders):
            for path in self.changes.relisted(folder):
                if not path.endswith((*SUFFIXES, *LOCKS)):
                    return path
        return None

    def _met(self, evidence: Iterable[Named | Seen], base: Path) -> Reason | None:
        """The first of these, seen from ``base``, that a change can have moved."""
        for one in evidence:
            for path in one.changes(self.changes, str(base)):
                return _changed(path)
        return None

    def _moved(self, name: str, value: str | None, base: Path) -> bool:
        """Whether a fact about the repository is not what it was at the last build."""
        asked = (name, value, base)
        if asked not in self._now:
            kind, rest = kinds.parted(name)
            lies = kind.lies(rest, value, str(base))
            near = lies is None or any(map(self.changes.holds, lies))
            self._now[asked] = kinds.current(name, value, base) if near else value
        return self._now[asked] != value


def _changed(path: str) -> Reason:
    return Reason(f"{path} changed")


def _knobs(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """As the ledger gives them back."""
    plain: dict[str, Any] = json.loads(canonical(knobs))
    return plain
