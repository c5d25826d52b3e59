"""The files that a recipe depends on: by what it and its lock files name, and by what its last build saw."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelbuild.base.errors import Diagnostic
from modelbuild.changes.bounds import Clock
from modelbuild.changes.edits import Edits
from modelbuild.changes.naming import Named, Role, locked, named
from modelbuild.changes.review.effects import role
from modelbuild.changes.seeing import seen
from modelbuild.changes.sides import inside
from modelbuild.plan.planning import plan
from modelbuild.recipe.problems import clean
from modelbuild.recipe.schema import Recipe

OUTSIDE: Final = "outside-repository"


@dataclass(frozen=True)
class Dependency:
    """A file that a recipe depends on: its path in the repository, and what it is to the recipe."""

    path: str
    role: Role


def belonging(
    recipe: Recipe,
    folder: str,
    in_locks: Collection[str],
    history: Mapping[str, Any],
    edits: Edits,
    clock: Clock,
) -> dict[str, Dependency]:
    """What of the ``edits`` the recipe in ``folder`` depends on, by the name that it has there.

    ``in_locks`` are the files that its lock files name, ``history`` what the cache remembers
    of its actions.
    """
    base = posixpath.join(edits.root, folder)
    found: dict[str, Dependency] = {}
    for one in named(recipe):
        clock.tick()
        for path in one.changes(edits, base):
            found.setdefault(_label(path, folder, one), Dependency(path, one.role))
    known = {file.path for file in found.values()}
    for file in (*_seen(recipe, base, history, edits), *_locked(base, in_locks, edits)):
        clock.tick()
        if file.path not in known:
            found.setdefault(_label(file.path, folder), file)
    return found


def _seen(recipe: Recipe, base: str, history: Mapping[str, Any], edits: Edits) -> Iterator[Dependency]:
    if history:
        planned = plan(recipe)
        for fact in seen(history, planned.by_id):
            for path in fact.changes(edits, base):
                yield Dependency(path, role(planned.by_id[action] for action in fact.actions))


def _locked(base: str, names: Iterable[str], edits: Edits) -> Iterator[Dependency]:
    return (Dependency(path, one.role) for one in locked(names) for path in one.changes(edits, base))


def _label(path: str, folder: str, one: Named | None = None) -> str:
    """As the recipe names it: a module has one name, be it beside the recipe or at the root."""
    if one is not None and one.how == "code" and path in (one.text, posixpath.join(folder, one.text)):
        return one.text
    return posixpath.relpath(path, folder or ".")


def strays(recipe: Recipe, folder: str, where: str) -> Iterator[Diagnostic]:
    """The files that the recipe names and that lie outside the repository."""
    for one in named(recipe):
        beside = one.text == f"{recipe.model.onnx}.data"
        if one.how == "code" or beside or inside(folder, one.text) is not None:
            continue
        said = f"`{one.route}`: `{clean(one.text)}` lies outside the repository; it was not looked at"
        hint = "keep it in the repository (git-lfs holds large files), or say in the review where it is from"
        yield Diagnostic(OUTSIDE, said, hint, where)
