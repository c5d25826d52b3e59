"""What a recipe's actions cost when they last ran here, and at which sizes its files were proven.

From the cache's memory of the recipe, and from the manifest beside its artifacts. Both are hints for
people: what cannot be read counts as not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from modelbuild.inspection.published import MANIFEST, read
from modelbuild.store import Store


@dataclass(frozen=True)
class Past:
    """``seconds`` by action; ``sizes`` by axis, the smallest and the largest that was proven."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class BuildFolders:
    """Where to look: ``cache`` is the store's folder, ``out`` where artifacts are published.

    ``root`` is the repository: a manifest that lies in it by a link out of it is a stranger's.
    """

    root: Path
    cache: Path
    out: Path

    def past(self, recipe: str, name: str) -> Past:
        """Of the recipe at ``recipe``, a path in the repository, under the name of its artifacts."""
        manifest = self._manifest(name)
        seconds = dict(_spent(manifest))
        for action, row in self.history(recipe).items():
            if _is_time(row.get("seconds")):
                seconds[action] = float(row["seconds"])
        return Past(seconds, dict(_proven(manifest)))

    def history(self, recipe: str) -> dict[str, Any]:
        """What the cache remembers of each action of the recipe; empty if it was never built with it."""
        try:
            return self._store.history(str(self.root / recipe))
        except UnicodeError:  # a path that is no text is in no cache
            return {}

    @cached_property
    def _store(self) -> Store:
        return Store(self.cache)

    def _manifest(self, name: str) -> dict[str, Any]:
        path = self.out / name / MANIFEST
        try:
            inside = path.absolute().is_relative_to(self.root)
            if inside and not path.resolve().is_relative_to(self.root):
                return {}
            return read(path)
        except (OSError, ValueError):
            return {}


def _spent(manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for row in manifest.get("actions", ()):
        if _is_time(row.get("seconds")):
            yield row["id"], float(row["seconds"])


def _proven(manifest: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    sizes: dict[str, list[int]] = {}
    for artifact in manifest.get("artifacts", ()):
        parity = artifact.get("parity")
        if artifact.get("status") not in ("built", "cached", "fetched") or not parity:
            continue
        pinned = artifact.get("axes")
        for shape in _rows(parity.get("shapes")):
            for axis, size in shape.items():
                if type(size) is int and not (isinstance(pinned, dict) and axis in pinned):
                    sizes.setdefault(axis, []).append(size)
    for axis, seen in sizes.items():
        yield axis, (min(seen), max(seen))


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf
