"""The review of a change: from two revisions to what each recipe's reviewer should know."""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from modelbuild.base.errors import Diagnostic
from modelbuild.changes.bounds import FILE, RECIPES, Clock, unfinished
from modelbuild.changes.edits import Listed
from modelbuild.changes.importing import reaching
from modelbuild.changes.naming import Role
from modelbuild.changes.review.asking import ReviewRequest, places, revisions, wanted
from modelbuild.changes.review.costs import BuildFolders
from modelbuild.changes.review.depending import Dependency, belonging, strays
from modelbuild.changes.review.differences import differences
from modelbuild.changes.review.effects import Outlook, outlook
from modelbuild.changes.review.locks import lock_changes
from modelbuild.changes.review.mentioning import candidates, others
from modelbuild.changes.review.pairing import Pair, pairs
from modelbuild.changes.review.risks import dropped, risks
from modelbuild.changes.review.values import Effect, Kind, RecipeReview, Review
from modelbuild.changes.review.versions import Version, Versions, lock_place
from modelbuild.changes.sides import Side, Sides, between
from modelbuild.git import Repository, TreeEntry
from modelbuild.recipe.differing import Change
from modelbuild.recipe.finding import LOCKS, SUFFIXES
from modelbuild.recipe.problems import clean
from modelbuild.trace import outline

STALE: Final = "lock-stale"
_MOST_DEFINITIONS = 5


def review(asked: ReviewRequest) -> Review:
    """What changed, and what it means.

    Raises:
        RecipeError: a revision or a path is none, or the change is too large to be looked at. What
            is wrong in a recipe is in the review.
    """
    repository = Repository.at(asked.folder)
    base, head = revisions(repository, asked)
    sides = between(repository, base, head)
    return _Reviewer(sides, places(asked, sides.base), wanted(asked, sides)).review()


class _Reviewer:
    def __init__(self, sides: Sides, places: BuildFolders, wanted: Sequence[str]) -> None:
        self.sides = sides
        self.places = places
        self.wanted = wanted
        self.clock = Clock()
        self.old, self.new = Versions(sides.base, self.clock), Versions(sides.head, self.clock)
        self.root = str(sides.head.repository.root)
        self.reached = reaching(sides, self.clock)
        self.edits = self._edits(sides.changed, sides.base, sides.head)
        self.others: frozenset[str] = frozenset()

    def review(self) -> Review:
        sides = self.sides
        found: list[RecipeReview] = []
        moved: dict[str, str] = {}
        reformatted: list[str] = []
        for pair in self._pairs():
            self.clock.tick()
            if self._was_wrong(pair):
                continue
            files = self._files(pair)
            if files or self._differs(pair):
                found.append(self._one(pair, files))
            elif pair.was:
                moved[pair.was] = pair.path
            elif sides.base.files[pair.path] != sides.head.files[pair.path]:
                reformatted.append(pair.path)
        return Review(
            sides.base.revision, sides.head.revision, tuple(found), moved, tuple(reformatted),
        )  # fmt: skip

    def _edits(self, paths: Iterable[str], before: Side, after: Side) -> Listed:
        return Listed(self.root, frozenset(paths), before.files.keys(), after.files.keys(), self.reached)

    def _was_wrong(self, pair: Pair) -> bool:
        """Whether this is a recipe with mistakes that the change does not touch."""
        both = pair.old is not None and pair.new is not None and bool(pair.old.wrong and pair.new.wrong)
        return both and self.sides.base.files.get(pair.path) == self.sides.head.files.get(pair.path)

    def _differs(self, pair: Pair) -> bool:
        """Whether the recipe is another, or its lock file."""
        before, after = (v.recipe if v else None for v in (pair.old, pair.new))
        same = before is not None and after is not None and not differences(before, after)
        entries = self._lock_entries(pair)
        return not same or entries[0] != entries[1]

    def _pairs(self) -> list[Pair]:
        yaml = {p for p in self.sides.changed if p.endswith(SUFFIXES) and not p.endswith(LOCKS)}
        changed = self._read(filter(self._is_wanted, yaml))
        recipes = {path for versions in changed for path in versions}
        self.others = others(self.sides, recipes)
        more = candidates(self.sides, self.edits, self.others, self.places, self.clock)
        return pairs(self.sides, *self._read((*recipes, *filter(self._is_wanted, more))))

    def _read(self, paths: Iterable[str]) -> list[dict[str, Version]]:
        """The recipes among these files, in each revision."""
        every = sorted(set(paths))
        if len(every) > RECIPES:
            raise unfinished(f"the change touches {len(every)} files that may be recipes")
        found = []
        for versions in (self.old, self.new):
            versions.prefetch([*every, *map(lock_place, every)])
            found.append({p: v for p in every if (v := versions.version(p)) is not None})
        return found

    def _is_wanted(self, path: str) -> bool:
        return not self.wanted or any(
            path == name or name == "." or path.startswith(f"{name}/") or fnmatch.fnmatchcase(path, name)
            for name in self.wanted
        )

    def _one(self, pair: Pair, files: Sequence[tuple[Change, Role]]) -> RecipeReview:
        old, new = pair.old, pair.new
        before, after = old.recipe if old else None, new.recipe if new else None
        recipe = after or before
        name = recipe.name if recipe else posixpath.splitext(posixpath.basename(pair.path))[0]
        kind: Kind = "changed" if old and new else "added" if new else "removed"
        diagnostics = [*(new.wrong if new else ()), *_noted(old.wrong if old else ())]
        past = self.places.past(old.path if old else pair.path, name)
        found = Outlook()
        changes: tuple[Change, ...] = ()
        if not (old and old.wrong) and not (new and new.wrong):
            found = outlook(before, after, {role for _, role in files}, past.seconds)
        if before and after:
            changes = differences(before, after)
            diagnostics += risks(before, after, past.sizes, self.new.where(pair.path))
        elif before and not new:
            diagnostics.append(dropped(before, self.old.where(pair.path)))
        if after and new:
            diagnostics += _strays(old, new, self.new.where(pair.path))
        locks, wrong, written = self._lock(pair)
        diagnostics += wrong
        if (changes or files) and not written:
            diagnostics += self._stale(pair, found.artifacts)
        return RecipeReview(
            pair.path, name, kind, pair.was, changes, tuple(change for change, _ in files),
            found.artifacts, found.seconds, found.unknown, locks, tuple(dict.fromkeys(diagnostics)),
        )  # fmt: skip

    def _files(self, pair: Pair) -> list[tuple[Change, Role]]:
        """The files that the recipe depends on and that are not what they were."""
        if pair.old is None or pair.new is None or not self.sides.changed:
            return []
        found: dict[str, list[Dependency | None]] = {}
        history = self.places.history(pair.path) if pair.was is None else {}
        named: set[str] = set()
        if self.others or pair.was is not None:
            locks = [v.lock(p.path)[0] for v, p in ((self.old, pair.old), (self.new, pair.new))]
            named = {name for lock in locks if lock for name in lock.files}
        elif not history:
            return []
        for number, (version, side) in enumerate(((pair.old, self.sides.base), (pair.new, self.sides.head))):
            edits = self.edits if pair.was is None else self._edits(side.files, side, side)
            for recipe in (v.recipe for v in (pair.old, pair.new) if v.recipe is not None):
                known = belonging(recipe, version.folder, named, history, edits, self.clock)
                for label, file in known.items():
                    found.setdefault(label, [None, None])[number] = file
        changes = (self._file(label, *files) for label, files in sorted(found.items()))
        return [change for change in changes if change is not None]

    def _file(self, label: str, old: Dependency | None, new: Dependency | None) -> tuple[Change, Role] | None:
        places = ((self.sides.base, old), (self.sides.head, new))
        entries = [side.files.get(file.path) if file else None for side, file in places]
        if entries[0] == entries[1]:
            return None
        shown = clean(label, 200)
        if old is None or new is None or None in entries:
            said = f"{shown} {'new' if entries[0] is None else 'gone'}"
        else:
            moved = self._definitions(old.path, new.path)
            if moved == []:
                return None
            said = f"{shown}:{', '.join(moved)} changed" if moved else f"{shown} changed"
        blobs = [entry.blob if entry else None for entry in entries]
        return Change(label, said, *blobs), next(file.role for _, file in places if file)

    def _definitions(self, old: str, new: str) -> list[str] | None:
        """What differs between two Python files, [] if only comments do; None where that is not known."""
        if not new.endswith(".py"):
            return None
        before, after = _outline(self.sides.base, old), _outline(self.sides.head, new)
        self.clock.tick()
        if before is None or after is None:
            return None
        names = [clean(name) for name in outline.changed(before, after)]
        return names if len(names) <= _MOST_DEFINITIONS else [*names[:_MOST_DEFINITIONS], "…"]

    def _lock(self, pair: Pair) -> tuple[tuple[Change, ...], tuple[Diagnostic, ...], bool]:
        """What the lock files say, what is wrong with them, and whether the newer is another."""
        entries = self._lock_entries(pair)
        if entries[0] == entries[1]:  # then what is wrong with it is nothing new
            return (), (), False
        old, was_wrong = self.old.lock(pair.old.path) if pair.old else (None, ())
        new, wrong = self.new.lock(pair.new.path) if pair.new else (None, ())
        diagnostics = (*_noted(was_wrong), *wrong)
        changes = lock_changes(old, new) if not diagnostics and pair.old and pair.new else ()
        return changes, diagnostics, entries[1] is not None

    def _lock_entries(self, pair: Pair) -> tuple[TreeEntry | None, TreeEntry | None]:
        old, new = (lock_place(v.path) if v else "" for v in (pair.old, pair.new))
        return self.sides.base.files.get(old), self.sides.head.files.get(new)

    def _stale(self, pair: Pair, found: Sequence[Effect]) -> Iterator[Diagnostic]:
        if pair.new is None or lock_place(pair.path) not in self.sides.head.files:
            return
        if any(effect.fate != "same" for effect in found):
            said = "the lock file is not written anew: it says what the older revision gives"
            yield Diagnostic(
                STALE, said, "`modelbuild build --lock` writes it", self.new.where(lock_place(pair.path)),
                "warning",
            )  # fmt: skip


def _strays(old: Version | None, new: Version, where: str) -> Iterator[Diagnostic]:
    """Files outside: an error where this change brings them in, else a note of what is not seen."""
    known = {d.message for d in strays(old.recipe, old.folder, "")} if old and old.recipe else set()
    for found in strays(new.recipe, new.folder, where) if new.recipe else ():
        yield replace(found, level="info") if found.message in known else found


def _outline(side: Side, path: str) -> dict[str, str] | None:
    blob = side.read([path], FILE).get(path)
    return outline.outline(blob.data) if blob is not None and blob.size < FILE else None


def _noted(wrong: Sequence[Diagnostic]) -> Iterator[Diagnostic]:
    """What was wrong before the change is no mistake of it."""
    for found in wrong:
        yield replace(found, message=f"the older one is wrong: {found.message}", level="info", excerpt=None)
