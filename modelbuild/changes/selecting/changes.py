"""What a repository's working tree has otherwise than a commit, and which paths that concerns.

Paths are followed link by link. Nothing is opened but files named pyproject.toml, and Python files where
nothing better says what a recipe depends on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modelbuild import settings
from modelbuild.base import links
from modelbuild.base.errors import RecipeError
from modelbuild.changes.bounds import Clock
from modelbuild.changes.edits import Edits, Reached
from modelbuild.changes.importing import reaching
from modelbuild.changes.sides import Sides, between
from modelbuild.git import Repository
from modelbuild.recipe import defaults


@dataclass(frozen=True)
class Changes(Edits):
    """In the working tree, since a commit. A changed link concerns all that is reached through it."""

    sides: Sides

    @classmethod
    def since(cls, repository: Repository, rev: str) -> Changes:
        """Since ``rev``, or where the branch that is checked out left it.

        Raises:
            RecipeError: ``git-failed``: there is no such revision, or nothing that both come from.
        """
        commit = repository.merge_base(repository.commit(rev), repository.commit("HEAD"))
        sides = between(repository, commit, None)
        return cls(str(repository.root), sides.changed, sides.base.files.keys(), sides)

    def way(self, path: str) -> Sequence[str]:
        """As ``links.visited``; a thousand recipes share most of their files."""
        if path not in self._ways:
            self._ways[path] = list(links.visited(path))
        return self._ways[path]

    def is_folder(self, name: str) -> bool | None:
        place = os.path.join(self.root, name)
        if os.path.isdir(place) and not os.path.islink(place):
            return True
        return False if os.path.lexists(place) else None

    @cached_property
    def reached(self) -> Reached:
        """What takes too long to find out is not known: then a recipe counts for another reason."""
        with contextlib.suppress(RecipeError):
            return reaching(self.sides, Clock())
        return {}

    def project_file(self, folder: Path) -> str | None:
        """The changed project file at or above a folder by which a recipe there can mean something else."""
        for candidate in settings.candidates(str(folder)):
            for name in self._met(self.way(candidate)):
                if self._decides(name):
                    return name
        return None

    def _decides(self, name: str) -> bool:
        """Whether a changed place on the way to a project file can change what recipes mean."""
        if os.path.basename(name) != settings.FILE:
            return True
        if name not in self._deciding:
            self._deciding[name] = self._other_defaults(name)
        return self._deciding[name]

    def _other_defaults(self, name: str) -> bool:
        most = settings.MOST_BYTES + 1
        entries = [side.files.get(name) for side in (self.sides.base, self.sides.head)]
        if any(entry is not None and not entry.is_file for entry in entries):
            return True
        texts = [side.read([name], most).get(name) for side in (self.sides.base, self.sides.head)]
        try:
            was, now = (defaults.read(text.data if text else b"", name) for text in texts)
        except RecipeError:
            return True
        return was != now

    @cached_property
    def _deciding(self) -> dict[str, bool]:
        return {}

    @cached_property
    def _ways(self) -> dict[str, list[str]]:
        return {}
