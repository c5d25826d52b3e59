"""How large a cache is, and what it was good for."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from modelbuild.store import tally
from modelbuild.store.cache import Store
from modelbuild.store.layout import files_below
from modelbuild.store.tally import Tally


@dataclass(frozen=True)
class Stats:
    """``used`` adds up all builds, sizes are in bytes: of objects, and of everything there is."""

    used: Tally
    objects: int
    object_bytes: int
    entries: int
    bytes: int


def stats(store: Store) -> Stats:
    """Count what is there now; reads no object."""
    layout = store.layout
    places = [place for _, place in layout.objects()]
    sizes = {}
    for path in files_below(layout.root):
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            sizes[path] = path.lstat().st_size
    stored = sum(sizes.get(path, 0) for place in places for path in files_below(place))
    entries = sum(1 for _ in layout.ledger_files())
    return Stats(tally.total(layout.tally), len(places), stored, entries, sum(sizes.values()))
