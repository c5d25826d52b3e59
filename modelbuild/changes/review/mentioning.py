"""Unchanged recipes that a change of other files may concern: found by words, before any is read as YAML.

Reading a thousand recipes takes seconds, and most changes concern a few. A recipe or a lock file that
depends on a file holds a word of its name; those that do are looked at properly.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterable, Iterator
from fnmatch import fnmatchcase

from modelbuild.base.errors import RecipeError
from modelbuild.changes.bounds import FILE, Clock
from modelbuild.changes.edits import Edits
from modelbuild.changes.naming import modules
from modelbuild.changes.review.costs import BuildFolders
from modelbuild.changes.review.versions import lock_place
from modelbuild.changes.seeing import seen
from modelbuild.changes.sides import PROJECT, Side, Sides, inside
from modelbuild.lockfile.naming import FAR
from modelbuild.recipe import defaults
from modelbuild.recipe.finding import LOCKS, SUFFIXES

_WORD = re.compile(rb"[\w\x80-\xff-]+")
_NAME = re.compile(rb"[^\s\"',\[\]{}#]+|\"[^\"\n]*\"|'[^'\n]*'")
_FEW = 20
_CLASS = re.compile(rb"[\w./]\[|\][\w./]")  # of characters, in a pattern
_MAGIC = re.compile(r"[*?\[]")


def others(sides: Sides, recipes: Collection[str]) -> frozenset[str]:
    """What changed besides ``recipes``, lock files and project files: what a recipe may depend on."""
    left = sides.changed - set(recipes)
    return frozenset(p for p in left if not p.endswith(LOCKS) and not _is_project(p))


def candidates(
    sides: Sides, edits: Edits, changed: Collection[str], places: BuildFolders, clock: Clock
) -> set[str]:
    """Paths of unchanged YAML files in the newer side that may be recipes that are concerned.

    They may name one of the ``changed``; what their last builds saw is in the cache, at ``places``.
    """
    if not sides.changed:
        return set()
    yaml = [p for p in sides.head.files if p.endswith(SUFFIXES) and p not in sides.changed]
    recipes = [p for p in yaml if not p.endswith(LOCKS)]
    found = {p for p in recipes if lock_place(p) in sides.changed}
    folders = _projects(sides)
    found |= {p for p in recipes if any(p.startswith(folder) for folder in folders)}
    if changed:
        left = [p for p in yaml if p not in found]
        found |= set(_mentioning(sides, left, {*changed, *edits.reached}, edits, clock))
    return {p for p in recipes if p in found or _was_seen(p, edits, places, clock)}


def _was_seen(path: str, edits: Edits, places: BuildFolders, clock: Clock) -> bool:
    """Whether the last build of a recipe saw something that these edits move."""
    clock.tick()
    history = places.history(path)
    base = posixpath.join(edits.root, posixpath.dirname(path))
    return any(True for fact in seen(history, history) for _ in fact.changes(edits, base))


def _is_project(path: str) -> bool:
    return posixpath.basename(path) == PROJECT


def _projects(sides: Sides) -> list[str]:
    """The folders whose project file speaks of recipes, and changed; with a slash, the root empty."""
    paths = list(filter(_is_project, sides.changed))
    return [p[: -len(PROJECT)] for p in paths if _said(sides.base, p) != _said(sides.head, p)]


def _said(side: Side, path: str) -> object:
    """What a project file says of recipes; of one that is wrong, its bytes.

    One that says nothing of them hides what the next one above it says, and is not as none.
    """
    entry = side.files.get(path)
    if entry is None or not entry.is_file:
        return defaults.NONE if entry is None else entry
    data = side.read([path], FILE)[path].data
    try:
        return defaults.read(data, path)
    except RecipeError:
        return data


def _mentioning(
    sides: Sides, paths: Iterable[str], changed: Collection[str], edits: Edits, clock: Clock
) -> Iterator[str]:
    """The recipes among ``paths`` whose text, or whose lock file's, may speak of one of these files."""
    clues = {clue for path in changed for clue in _clues(path)}
    names = {posixpath.basename(path) for path in changed}
    folders = {posixpath.dirname(path) for path in changed}
    for path, blob in sides.head.read(paths, FILE).items():
        clock.tick()
        text = blob.data
        locked = path.endswith(LOCKS[0])
        if not locked and b"model" not in text:
            continue
        known = not clues.isdisjoint(_WORD.findall(text))
        unclear = b"\\" in text or _CLASS.search(text) is not None
        if not (known or unclear or b"*" in text or b"?" in text):
            continue
        folder = posixpath.dirname(path)
        found = set(_NAME.findall(text))
        if len(clues) < _FEW:  # most words have nothing to do with it
            found = {w for w in found if b"*" in w or b"?" in w or b"[" in w or any(c in w for c in clues)}
        if unclear or any(_may_be(w, folder, known, changed, names, folders, edits) for w in found):
            yield from ((path.removesuffix(LOCKS[0]) + s for s in SUFFIXES) if locked else (path,))


def _may_be(
    word: bytes, folder: str, known: bool, changed: Collection[str], names: Collection[str],
    folders: Collection[str], edits: Edits,
) -> bool:  # fmt: skip
    """Whether a word of a recipe in ``folder`` may be the name of a changed file, a pattern, or a module."""
    text = word.decode("utf-8", "surrogateescape").strip("\"'")
    if _MAGIC.search(text):
        last = posixpath.basename(text)[:200]
        place = inside(folder, posixpath.dirname(text)) if text.endswith("/*") else None
        return last == "**" or place in folders or any(fnmatchcase(name, last) for name in names)
    if not known:
        return False
    name = text.removesuffix(":")
    if name.startswith(FAR):
        return name[len(FAR) :] in names
    place = posixpath.join(edits.root, folder, name)
    if name and any(True for path in (place, f"{place}.data") for _ in edits.hit(path)):
        return True
    module = text.partition(":")[0]
    return any(posixpath.join(start, file) in changed for start in {folder, ""} for file in modules(module))


def _clues(path: str) -> Iterator[bytes]:
    """Words of which a text that names this file holds one: the longest in its name."""
    folder, name = posixpath.split(path)
    if name == "__init__.py":
        name = posixpath.basename(folder)
    words = _WORD.findall(name.removesuffix(".py").encode("utf-8", "surrogateescape"))
    if words:
        yield max(words, key=len)
