"""Read everything again: does each byte say what it said when it was stored?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelbuild.store.cache import Store
from modelbuild.store.entries import Entry
from modelbuild.store.files import remove
from modelbuild.store.ledger import Ledger
from modelbuild.store.objects import Objects, Tree, tree_of


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was stored. ``removed`` says whether the store is rid of it."""

    what: str  # "object", "entry", "history" or "link"
    place: Path  # where it was; an object that was removed is set aside in `aside/<digest>`
    problem: str
    removed: bool


@dataclass(frozen=True)
class Checked:
    """How much was read, and what of it was damaged."""

    objects: int
    bytes: int
    entries: int
    histories: int
    damaged: tuple[Damage, ...]


def check(store: Store) -> Checked:
    """Hash every object again, and read every entry and history; take out what is damaged.

    Builds may run meanwhile. On a cache that cannot be written, what is damaged stays.
    """
    layout, ledger = store.layout, Ledger(store.layout)
    damaged: list[Damage] = []
    known: dict[str, Tree] = {}
    counts = {"entry": 0, "history": 0}
    for path in list(layout.links()):
        removed = _done(path.unlink)
        damaged.append(Damage("link", path, "a cache has no links, and follows none", removed))
    entries = [("entry", lookup_key, path) for lookup_key, path in layout.ledger_files()]
    for what, lookup_key, path in [*entries, *(("history", "", path) for path in layout.history_files())]:
        read = ledger.entry(path, lookup_key) if what == "entry" else ledger.memory(path)
        if read is None and path.exists():
            removed = _done(lambda path=path: remove(path))  # type: ignore[misc]
            damaged.append(Damage(what, path, "its content is not what its digest says", removed))
        elif read is not None:
            counts[what] += 1
            if isinstance(read, Entry):
                known[read.tree.digest] = read.tree
    objects = size = 0
    for name, place in layout.objects():
        found = _tree(place)
        if found is None and not place.is_dir():
            continue  # a collection deleted it meanwhile
        objects += 1
        size += sum(f.bytes for f in found.files.values()) if found else 0
        if found is None or found.digest != name:
            removed = _done(lambda name=name: Objects(layout).set_aside(name))  # type: ignore[misc]
            damaged.append(Damage("object", place, _difference(known.get(name), found), removed))
    return Checked(objects, size, counts["entry"], counts["history"], tuple(damaged))


def _tree(place: Path) -> Tree | None:
    try:
        return tree_of(place)
    except OSError:
        return None


def _difference(stored: Tree | None, found: Tree | None) -> str:
    """What is wrong with an object, as far as the ledger knows what was in it."""
    if found is None:
        return "it cannot be read"
    if stored is None:
        return "its files are not what its name says"
    said = [f"{name} is missing" for name in stored.files if name not in found.files]
    said += [f"{name} is not part of it" for name in found.files if name not in stored.files]
    for name, file in stored.files.items():
        now = found.files.get(name, file)
        if now.bytes != file.bytes:
            said.append(f"{name} has {now.bytes} bytes, not {file.bytes}")
        elif now != file:
            said.append(f"{name} has other bytes")
    return ", ".join(said) or "its files are not what its name says"


def _done(remove: Callable[[], None]) -> bool:
    try:
        remove()
    except OSError:
        return False
    return True
