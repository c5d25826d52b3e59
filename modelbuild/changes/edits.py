"""What came, went or has other bytes in a repository, and which names that concerns.

Here a name meets a change, for whoever asks what it touches: what a recipe names (``naming``), and what
its last build saw (``seeing``). Where a name leads and what is there say those that hold the files:
``Listed`` as git lists them, ``selecting.changes`` as they lie in the working tree.
"""

from __future__ import annotations

import bisect
import glob
import itertools
import os
import posixpath
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from modelbuild.base import globs

_MOST_FOLDERS = 2048  # a path has 4096 characters

Reached = Mapping[str, Collection[str]]
"""Unchanged Python files, each with the changed ones that it reaches by its imports."""


@dataclass(frozen=True)
class Edits(ABC):
    """``paths`` came, went or have other bytes; ``before`` are the older state's files. Both, and all
    answers, are named from ``root`` on; what is asked are absolute paths."""

    root: str
    paths: frozenset[str]
    before: Collection[str]

    @abstractmethod
    def way(self, path: str) -> Sequence[str]:
        """Every place on the way to a path; the last is where it leads."""

    @abstractmethod
    def is_folder(self, name: str) -> bool | None:
        """What is there now; None for nothing."""

    @property
    @abstractmethod
    def reached(self) -> Reached: ...

    def hit(self, path: str) -> Iterator[str]:
        """Changes that can be seen at a path or below it."""
        yield from self._met(self.way(path))
        yield from self._below(self.name(self.final(path)))

    def appeared(self, path: str) -> Iterator[str]:
        """Changes by which there is something at a path that was not, or nothing any more."""
        *way, last = self.way(path) or [path]
        yield from self._met(way)
        folder, name = os.path.split(self.name(last) or "")
        if name in self._arrived.get(folder, ()):
            yield os.path.join(folder, name)

    def relisted(self, folder: str) -> Iterator[str]:
        """All that came or went in a folder, or became something else."""
        here = self.name(self.final(folder))
        if here is not None:
            yield from (os.path.join(here, name) for name in sorted(self._arrived.get(here, ())))

    def shadowing(self, modules: Iterable[str], folder: str) -> Iterator[str]:
        """Files by which one of these modules, imported from a folder, can be another one."""
        wanted = set(modules)
        for path in self.relisted(folder):
            if os.path.basename(path).partition(".")[0] in wanted:
                yield path
        for name in sorted(wanted):
            yield from self.relisted(os.path.join(folder, name))

    def matching(self, pattern: str, base: str) -> Iterator[str]:
        """Changes of files that a pattern matches, or has matched; ``base`` is where it begins."""
        parts = pattern.split("/")
        plain = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
        front = "/".join(parts[:plain]) if pattern.startswith("/") else os.path.join(base, *parts[:plain])
        yield from self._met(self.way(front or "/"))
        start = self.final(front or "/").rstrip("/") + "/"
        named = [part for part in parts[plain:] if part not in ("", ".", "**")]
        if len(named) > _MOST_FOLDERS:
            return
        fits = globs.fitting("/".join(parts[plain:]))
        above = self._start.startswith(start)  # the pattern comes from over the root
        for path in self._sorted if above else self._below(self.name(start[:-1])):
            below = (self._start + path)[len(start) :].split("/")
            if any(fits(below[:length]) for length in range(1, len(below) + 1)):
                yield path

    def beside(self, folder: str) -> Iterator[str]:
        """Changes of files that lie right in a folder."""
        yield from self._met(self.way(folder))
        here = self.name(self.final(folder))
        yield from (path for path in self._below(here) if os.path.dirname(path) == here)

    def called(self, name: str) -> Iterator[str]:
        """Changes of files with this name, wherever they lie."""
        yield from self._by_last_name.get(name, ())

    def imported(self, path: str) -> Iterator[str]:
        """Changes that a source reaches by its imports."""
        yield from self.reached.get(self.name(self.final(path)) or "", ())

    def holds(self, path: str) -> bool:
        """Whether a path leads to a place below the root."""
        return bool(self.name(self.final(path)))

    def knows(self, path: str) -> bool:
        """Whether there is something at a path, or was."""
        name = self.name(self.final(path))
        return name is not None and (name in self.before or self.is_folder(name) is not None)

    def final(self, path: str) -> str:
        """Where a path leads."""
        return ["/", *self.way(path)][-1]

    def name(self, place: str) -> str | None:
        """A path from the root on; None outside, and empty for the root."""
        if place.startswith(self._start):
            return place[len(self._start) :]
        return "" if place == self.root else None

    def _met(self, way: Iterable[str]) -> Iterator[str]:
        names = map(self.name, way)
        return (name for name in names if name in self.paths and name is not None)

    def _below(self, folder: str | None) -> Iterator[str]:
        if folder is None:
            return iter(())
        start = f"{folder}/" if folder else ""
        rest = itertools.islice(self._sorted, bisect.bisect_left(self._sorted, start), None)
        return itertools.takewhile(lambda path: path.startswith(start), rest)

    @property
    def _start(self) -> str:
        return self.root.rstrip("/") + "/"

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.paths)

    @cached_property
    def _by_last_name(self) -> Mapping[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for path in self._sorted:
            found[os.path.basename(path)].append(path)
        return found

    @cached_property
    def _arrived(self) -> Mapping[str, set[str]]:
        """By folder, the names that came, went or became something else."""
        folders = folders_of(self.before)
        found: defaultdict[str, set[str]] = defaultdict(set)
        for name in self.paths:
            while name:
                was = True if name in folders else False if name in self.before else None
                if self.is_folder(name) == was:
                    break
                folder, last = os.path.split(name)
                found[folder].add(last)
                name = folder
        return found


@dataclass(frozen=True)
class Listed(Edits):
    """As git lists the files: nothing is looked for on the disk, and no link is followed."""

    after: Collection[str]
    importers: Reached

    @property
    def reached(self) -> Reached:
        return self.importers

    def way(self, path: str) -> Sequence[str]:
        name = self.name(posixpath.normpath(path))
        parts = name.split("/") if name else []
        return list(itertools.accumulate([self.root, *parts], posixpath.join)) if name is not None else []

    def is_folder(self, name: str) -> bool | None:
        return True if name in self._folders else False if name in self.after else None

    @cached_property
    def _folders(self) -> set[str]:
        return folders_of(self.after)


def folders_of(files: Iterable[str]) -> set[str]:
    """Every folder above these files, the root as an empty name among them."""
    folders = {""}
    for name in files:
        while (name := os.path.dirname(name)) not in folders:
            folders.add(name)
    return folders
