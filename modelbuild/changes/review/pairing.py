"""Which recipe of the older side is which of the newer: by their place, else by what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from modelbuild.changes.review.versions import Version
from modelbuild.changes.sides import Sides


@dataclass(frozen=True)
class Pair:
    """One recipe, before and after; None where it is not."""

    old: Version | None
    new: Version | None

    @property
    def path(self) -> str:
        version = self.new or self.old
        assert version is not None
        return version.path

    @property
    def was(self) -> str | None:
        """Where it lay, if that was another place."""
        moved = self.old is not None and self.new is not None and self.old.path != self.new.path
        return self.old.path if moved and self.old is not None else None


def pairs(sides: Sides, old: Mapping[str, Version], new: Mapping[str, Version]) -> list[Pair]:
    """Every recipe once, in the order of their paths."""
    gone = [v for path, v in old.items() if path not in new]
    come = [v for path, v in new.items() if path not in old]
    moves = _moves(sides, gone, come)
    found = [Pair(old.get(path) or moves.get(path), version) for path, version in new.items()]
    moved = {version.path for version in moves.values()}
    found += [Pair(version, None) for version in gone if version.path not in moved]
    return sorted(found, key=lambda pair: pair.path)


def _moves(sides: Sides, gone: Iterable[Version], come: Iterable[Version]) -> dict[str, Version]:
    """The older version of each recipe that only lies elsewhere, by its new path.

    It has the bytes that it had, or the name: two of one name would write into one folder.
    """
    moves: dict[str, Version] = {}
    left = {v.path: v for v in gone}
    for kind in (_bytes, _name):
        by: dict[object, list[Version]] = {}
        for version in left.values():
            by.setdefault(kind(sides.base.files[version.path].blob, version), []).append(version)
        for version in come:
            same = by.get(kind(sides.head.files[version.path].blob, version), [])
            if version.path not in moves and same:
                moves[version.path] = same.pop(0)
                del left[moves[version.path].path]
    return moves


def _bytes(blob: str | None, version: Version) -> object:
    return blob or version.path


def _name(_: str | None, version: Version) -> object:
    return version.recipe.name if version.recipe is not None else (version.path,)
