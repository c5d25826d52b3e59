"""The two sides of a comparison: every file of a revision or of the working tree, and its bytes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelbuild.git import Blob, Repository, TreeEntry

WORKING_TREE = "working tree"
PROJECT = "pyproject.toml"


@dataclass(frozen=True)
class Revision:
    """A side of the comparison; the working tree has no ``commit``."""

    rev: str
    commit: str | None

    @property
    def said(self) -> str:
        if self.commit is None:
            return self.rev
        return self.commit[:10] if self.rev == self.commit else f"{self.rev} ({self.commit[:10]})"

    def as_json(self) -> dict[str, Any]:
        return {"rev": self.rev, "commit": self.commit}


@dataclass(frozen=True)
class Side:
    """``files`` by their paths from the repository's root on, links and submodules among them.

    Nothing is ever looked for on the disk: what is not listed is not there.
    """

    repository: Repository
    revision: Revision
    files: Mapping[str, TreeEntry]
    held: dict[tuple[str, int], Blob] = field(default_factory=dict)

    def read(self, paths: Iterable[str], limit: int) -> dict[str, Blob]:
        """The first ``limit`` bytes of the files among ``paths``; links are not read.

        Raises:
            RecipeError: ``git-failed``.
        """
        asked = [p for p in dict.fromkeys(paths) if p in self.files and self.files[p].is_file]
        blobs = [b for p in asked if (b := self.files[p].blob) is not None and (b, limit) not in self.held]
        self.held.update({(b, limit): found for b, found in self.repository.read(blobs, limit).items()})
        read: dict[str, Blob] = {}
        for path in asked:
            blob = self.files[path].blob
            found = self.repository.content(path, limit) if blob is None else self.held[blob, limit]
            read[path] = found or Blob(0, b"", missing=True)
        return read


@dataclass(frozen=True)
class Sides:
    """``changed`` are the paths at which the two have not the same file."""

    base: Side
    head: Side
    changed: frozenset[str]


def between(repository: Repository, base: str, head: str | None) -> Sides:
    """The two revisions, ``head`` None being the working tree.

    Raises:
        RecipeError: ``git-failed``: a revision is none, or git cannot read it.
    """
    commit = repository.commit(base)
    files = repository.files(commit)
    old = Side(repository, Revision(base, commit), files)
    if head is None:
        edits = repository.edits(commit)
        left = {path: entry for path, entry in files.items() if path not in edits}
        there = {path: entry for path, entry in edits.items() if entry is not None}
        return Sides(old, Side(repository, Revision(WORKING_TREE, None), {**left, **there}), frozenset(edits))
    other = repository.commit(head)
    now = repository.files(other)
    changed = {path for path in {*files, *now} if files.get(path) != now.get(path)}
    return Sides(old, Side(repository, Revision(head, other), now), frozenset(changed))


def inside(folder: str, name: str) -> str | None:
    """The path in the repository of ``name``, seen from ``folder``; None if it lies outside."""
    if name.startswith("/") or "\0" in name:
        return None
    path = posixpath.normpath(posixpath.join(folder, name))
    return None if path == ".." or path.startswith("../") else path
