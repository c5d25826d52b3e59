"""Where things lie in a cache folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelbuild.keys import digest

GONE = ".gone"


@dataclass(frozen=True)
class Layout:
    """The paths of one cache; ``root`` is absolute. Digests come as ``sha256:…``."""

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

    def entries(self, cheap: str) -> Path:
        return _spread(self.root / "ledger", cheap)

    def history(self, recipe: str) -> Path:
        return self.root / "history" / (_plain(digest(recipe))[:32] + ".json")

    def lock(self, name: str) -> Path:
        return self.root / "locks" / _plain(digest(name))[:32]

    def log(self, recipe: str, action: str) -> Path:
        return self.root / "logs" / recipe / f"{action.replace(' ', '-')}.log"

    def objects(self) -> Iterator[tuple[str, Path]]:
        """Every object that is in its place: digest and folder."""
        for folder in _listed(self.root / "objects"):
            for place in _listed(folder):
                if _is_digest(place.name) and place.name.startswith(folder.name) and place.is_dir():
                    yield f"sha256:{place.name}", place

    def leftovers(self) -> Iterator[Path]:
        """Objects whose deletion was begun, and those set aside."""
        for folder in _listed(self.root / "objects"):
            yield from (place for place in _listed(folder) if place.name.endswith(GONE))
        yield from _listed(self.root / "aside")

    def ledger_folders(self) -> Iterator[Path]:
        for folder in _listed(self.root / "ledger"):
            yield from _listed(folder)

    def ledger_files(self) -> Iterator[Path]:
        for folder in self.ledger_folders():
            yield from (path for path in _listed(folder) if path.suffix == ".json")

    def history_files(self) -> Iterator[Path]:
        yield from (path for path in _listed(self.root / "history") if path.suffix == ".json")

    def draft_folders(self) -> Iterator[Path]:
        """Where files are written beside their place."""
        yield from (self.root, self.root / "history", *self.ledger_folders())

    def lock_files(self) -> Iterator[Path]:
        yield from _listed(self.root / "locks")

    def sessions(self) -> Iterator[Path]:
        yield from _listed(self.work)


def files_below(folder: Path) -> Iterator[Path]:
    """Every file in a folder and in those below it; a folder that vanishes meanwhile is empty."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names)


def _listed(folder: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(folder.iterdir())
    return []


def _spread(folder: Path, name: str) -> Path:
    plain = _plain(name)
    return folder / plain[:2] / plain


def _plain(name: str) -> str:
    return name.partition(":")[2]


def _is_digest(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")
