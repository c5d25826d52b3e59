"""Where things lie in a cache folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelbuild.base import shapes
from modelbuild.base.keys import digest

GONE = ".gone"

_DEPTHS = {"objects": 2, "ledger": 3, "logs": 3}  # of the last folders with a meaning; of the others 1


@dataclass(frozen=True)
class Layout:
    """The paths of one cache; ``root`` is absolute. Digests come as ``sha256:…``.

    What is listed is listed through no link: see ``inside``.
    """

    root: Path

    @property
    def gate(self) -> Path:
        """Shared by those who pin or count, exclusive for who collects or adds up."""
        return self.root / "gate"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def tally(self) -> Path:
        return self.root / "stats.jsonl"

    def object(self, name: str) -> Path:
        return _spread(self.root / "objects", name)

    def aside(self, name: str) -> Path:
        return self.root / "aside" / _plain(name)

    def entries(self, lookup_key: str) -> Path:
        return _spread(self.root / "ledger", lookup_key)

    def history(self, recipe: str) -> Path:
        return self.root / "history" / (_plain(digest(recipe))[:32] + ".json")

    def lock(self, name: str) -> Path:
        return self.root / "locks" / _plain(digest(name))[:32]

    def log(self, project: str, recipe: str, action: str) -> Path:
        return self.root / "logs" / _name(project) / _name(recipe) / _name(f"{action.replace(' ', '-')}.log")

    def log_folders(self) -> Iterator[Path]:
        """The folders of the projects that have logs."""
        yield from _folders(self.root / "logs")

    def objects(self) -> Iterator[tuple[str, Path]]:
        """Every object that is in its place: digest and folder."""
        for folder in _listed(self.root / "objects"):
            for place in _folders(folder):
                if shapes.sha256(place.name) and place.name.startswith(folder.name):
                    yield f"sha256:{place.name}", place

    def leftovers(self) -> Iterator[Path]:
        """Objects whose deletion was begun, and those set aside."""
        for folder in _listed(self.root / "objects"):
            yield from (place for place in _listed(folder) if place.name.endswith(GONE))
        yield from _listed(self.root / "aside")

    def ledger_folders(self) -> Iterator[Path]:
        for folder in _listed(self.root / "ledger"):
            yield from (place for place in _folders(folder) if shapes.sha256(place.name))

    def ledger_files(self) -> Iterator[tuple[str, Path]]:
        """Every entry: the digest of its facts, and its file."""
        for folder in self.ledger_folders():
            yield from ((f"sha256:{folder.name}", p) for p in _listed(folder) if p.suffix == ".json")

    def history_files(self) -> Iterator[Path]:
        yield from (path for path in _listed(self.root / "history") if path.suffix == ".json")

    def draft_folders(self) -> Iterator[Path]:
        """Where files are written beside their place."""
        yield from (self.root, self.root / "history", *self.ledger_folders())

    def lock_files(self) -> Iterator[Path]:
        yield from _listed(self.root / "locks")

    def sessions(self) -> Iterator[Path]:
        yield from _folders(self.work)

    def small_files(self) -> Iterator[Path]:
        """Logs and states: what may go when it is old."""
        for folder in _folders(self.root):
            if folder.name in ("logs", "state"):
                yield from files_below(folder)

    def links(self) -> Iterator[Path]:
        """Links in the place of a folder or a file: a cache has none. Those in an object are its damage."""
        todo = [self.root]
        for folder in todo:
            for place in _listed(folder):
                depth = len(place.relative_to(self.root).parts)
                if place.is_symlink():
                    yield place
                elif place.is_dir() and depth <= _DEPTHS.get(place.relative_to(self.root).parts[0], 1):
                    todo.append(place)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file in a folder and in those below it; a folder that vanishes meanwhile is empty."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _listed(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        if not folder.is_symlink():
            return sorted(folder.iterdir())
    return []


def _folders(folder: Path) -> list[Path]:
    return [place for place in _listed(folder) if place.is_dir() and not place.is_symlink()]


def _spread(folder: Path, name: str) -> Path:
    plain = _plain(name)
    return folder / plain[:2] / plain


def _plain(name: str) -> str:
    """The digits of a digest: nothing else becomes a path."""
    if not shapes.digest(name):
        raise ValueError(f"{name!r} is no digest")
    return name.partition(":")[2]


def _name(name: str) -> str:
    if not shapes.name(name):
        raise ValueError(f"{name!r} is no name of a file")
    return name
