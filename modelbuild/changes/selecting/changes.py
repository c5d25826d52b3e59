"""What a repository's working tree has otherwise than a commit, and which paths that concerns.

Paths are followed link by link: a changed link concerns all that is reached through it. Nothing is
opened but files named pyproject.toml.
"""

from __future__ import annotations

import glob
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modelbuild import settings
from modelbuild.base import globs, links
from modelbuild.base.errors import RecipeError
from modelbuild.git import Entry, Repository
from modelbuild.recipe import defaults

_MOST_FOLDERS = 2048  # a path has 4096 characters


@dataclass(frozen=True)
class Changes:
    """Since ``commit``. ``paths`` came, went or have other bytes; ``before`` are the commit's files."""

    repository: Repository
    commit: str
    paths: frozenset[str]
    before: Mapping[str, Entry]
    """By their paths from the root on."""

    @classmethod
    def since(cls, repository: Repository, rev: str) -> Changes:
        """Since ``rev``, or where the branch that is checked out left it.

        Raises:
            RecipeError: ``git-failed``: there is no such revision, or nothing that both come from.
        """
        commit = repository.merge_base(repository.commit(rev), repository.commit("HEAD"))
        changed = frozenset(map(str, repository.changed(commit)))
        return cls(repository, commit, changed, repository.files(commit))

    @property
    def root(self) -> str:
        return str(self.repository.root)

    def hit(self, path: str) -> str | None:
        """The change that can be seen at an absolute path or below it, from the root on; or None."""
        visited = self._way(path)
        for place in visited:
            if place in self.paths:
                return self.named(place)
        return self._above.get(visited[-1]) if visited else None

    def appeared(self, path: str) -> str | None:
        """The change by which there is something at an absolute path that was not, or nothing any more."""
        *way, last = self._way(path) or [path]
        for place in way:
            if place in self.paths:
                return self.named(place)
        folder, name = os.path.split(last)
        return self.named(last) if name in self._names.get(folder, ()) else None

    def relisted(self, folder: str) -> str | None:
        """The first that came or went in a folder, or became something else."""
        return next(iter(self.arrivals(folder)), None)

    def arrivals(self, folder: str) -> list[str]:
        """All that came or went in a folder, or became something else."""
        here = self.final(folder)
        return [self.named(os.path.join(here, name)) for name in sorted(self._names.get(here, ()))]

    def shadowing(self, modules: Iterable[str], folder: str) -> str | None:
        """A file by which one of these modules, imported from a folder, can be another one."""
        wanted = set(modules)
        for path in self.arrivals(folder):
            if os.path.basename(path).partition(".")[0] in wanted:
                return path
        within = (self.relisted(os.path.join(folder, name)) for name in sorted(wanted))
        return next(filter(None, within), None)

    def matching(self, pattern: str, base: Path) -> str | None:
        """A change of a file that a pattern matches, or has matched; ``base`` is where it begins."""
        parts = pattern.split("/")
        plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
        front = os.path.join(base, *parts[:plain]) if not pattern.startswith("/") else "/".join(parts[:plain])
        if found := self._through_link(front):
            return found
        here = self.final(front or "/")
        named = [p for p in parts[plain:] if p not in ("", ".", "**")]
        if len(named) > _MOST_FOLDERS:
            return None
        fits = globs.fitting("/".join(parts[plain:]))
        for path in self._sorted:
            if path.startswith(here.rstrip("/") + "/"):
                below = path[len(here.rstrip("/")) + 1 :].split("/")
                if any(fits(below[:length]) for length in range(1, len(below) + 1)):
                    return self.named(path)
        return None

    def project_file(self, folder: Path) -> str | None:
        """The changed project file at or above a folder by which a recipe there can mean something else."""
        for candidate in settings.candidates(str(folder)):
            for place in self._way(candidate):
                if place in self.paths and self._decides(place):
                    return self.named(place)
        return None

    def holds(self, path: str) -> bool:
        """Whether an absolute path leads to a place in the working tree."""
        return self.final(path).startswith(self.root.rstrip("/") + "/")

    def final(self, path: str) -> str:
        """Where an absolute path leads."""
        return ["/", *self._way(path)][-1]

    def _way(self, path: str) -> list[str]:
        """As ``links.visited``; a thousand recipes share most of their files."""
        if path not in self._ways:
            self._ways[path] = list(links.visited(path))
        return self._ways[path]

    def named(self, path: str) -> str:
        """A path as it is said: from the root on."""
        return os.path.relpath(path, self.root)

    def _through_link(self, path: str) -> str | None:
        """A change on the way to a path, itself included: what is below it is not asked."""
        return next((self.named(place) for place in self._way(path) if place in self.paths), None)

    def _decides(self, place: str) -> bool:
        """Whether a changed place on the way to a project file can change what recipes mean."""
        if not place.endswith(f"/{settings.FILE}"):
            return True
        if place not in self._deciding:
            self._deciding[place] = self._other_defaults(place)
        return self._deciding[place]

    def _other_defaults(self, file: str) -> bool:
        name, most = self.named(file), settings.MOST_BYTES + 1
        was, now = self.before.get(name), self.repository.content(name, most)
        if os.path.islink(file) or (was is not None and not was.is_file):
            return True
        old = self.repository.read([was.blob], most)[was.blob].data if was and was.blob else b""
        try:
            return defaults.read(old, name) != defaults.read(now.data if now else b"", name)
        except RecipeError:
            return True

    @cached_property
    def _deciding(self) -> dict[str, bool]:
        return {}

    @cached_property
    def _ways(self) -> dict[str, list[str]]:
        return {}

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.paths)

    @cached_property
    def _above(self) -> dict[str, str]:
        """A change for every folder that has one, at any depth."""
        found: dict[str, str] = {}
        for path in self._sorted:
            folder = os.path.dirname(path)
            while len(folder) >= len(self.root) and folder not in found:
                found[folder] = self.named(path)
                folder = os.path.dirname(folder)
        return found

    @cached_property
    def _names(self) -> dict[str, frozenset[str]]:
        folders = {""}
        for name in self.before:
            while name := os.path.dirname(name):
                if name in folders:
                    break
                folders.add(name)
        found: defaultdict[str, set[str]] = defaultdict(set)
        for path in self.paths:
            while path != self.root:
                name = self.named(path)
                was = "folder" if name in folders else "file" if name in self.before else None
                if _kind(path) == was:
                    break
                folder, last = os.path.split(path)
                found[folder].add(last)
                path = folder
        return {folder: frozenset(names) for folder, names in found.items()}


def _kind(path: str) -> str | None:
    if os.path.isdir(path) and not os.path.islink(path):
        return "folder"
    return "file" if os.path.lexists(path) else None
