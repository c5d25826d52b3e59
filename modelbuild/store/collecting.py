"""Make room: delete what was not used for longest, never what an output or a running build needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelbuild.store import locks, sessions
from modelbuild.store.cache import Store
from modelbuild.store.files import clear_drafts, remove
from modelbuild.store.layout import GONE, Layout, files_below
from modelbuild.store.ledger import Ledger


@dataclass(frozen=True)
class Collected:
    """What a collection did; all sizes in bytes of objects.

    ``needed`` and ``running`` stayed although they are over a limit: outputs of recipes that are
    still there come from the one, builds at work use the other.
    """

    objects: int  # deleted
    bytes: int
    left: int
    needed: int
    running: int


@dataclass(frozen=True)
class _Object:
    name: str
    place: Path
    bytes: int
    used: float  # seconds since 1970


def collect(store: Store, max_size: int | None, max_age: float | None, now: float) -> Collected:
    """Delete objects, least recently used first, and whatever else nobody will read any more.

    ``max_size`` is of all objects, in bytes; ``max_age`` is in seconds since the last use; None sets
    no limit. Builds may run meanwhile, and other collections.

    Raises:
        OSError: the cache cannot be written.
    """
    layout = store.layout
    sessions.sweep(layout)
    with locks.alone(layout.gate):
        objects = list(_objects(layout, now))
        # First the pins: a build remembers its objects before it ends, and its pins with it, so
        # whatever is not pinned any more at this moment is in the memories by the next one.
        running = sessions.pins(layout.sessions())
        needed = _needed(layout)
        victims, spared = _choose(objects, running | needed, max_size, max_age, now)
        for victim in victims:
            _take_out(victim.place)
    for leftover in layout.leftovers():
        with contextlib.suppress(OSError):
            remove(leftover)  # which may also be a file, a link or a pipe by now
    _tidy(layout, max_age, now)
    gone = sum(v.bytes for v in victims)
    return Collected(
        len(victims), gone,
        left=sum(o.bytes for o in objects) - gone,
        needed=sum(o.bytes for o in spared if o.name not in running),
        running=sum(o.bytes for o in spared if o.name in running),
    )  # fmt: skip


def _choose(
    objects: Sequence[_Object], kept: set[str], max_size: int | None, max_age: float | None, now: float
) -> tuple[list[_Object], list[_Object]]:
    """What to delete, and what is over a limit and must stay."""
    size = sum(o.bytes for o in objects)
    victims, spared = [], []
    for found in sorted(objects, key=lambda o: (o.used, o.name)):
        old = max_age is not None and now - found.used > max_age
        if not old and (max_size is None or size <= max_size):
            break  # all others were used later
        if found.name in kept:
            spared.append((found, old))
        else:
            victims.append(found)
            size -= found.bytes
    large = max_size is not None and size > max_size
    return victims, [found for found, old in spared if old or large]


def _objects(layout: Layout, now: float) -> Iterator[_Object]:
    for name, place in layout.objects():
        with contextlib.suppress(FileNotFoundError):  # set aside meanwhile
            size = sum(path.lstat().st_size for path in files_below(place))
            yield _Object(name, place, size, min(place.stat().st_mtime, now))  # a clock may have jumped


def _needed(layout: Layout) -> set[str]:
    """The objects that current outputs are copies of, or were made from."""
    ledger = Ledger(layout)
    memories = (ledger.memory(path) for path in layout.history_files())
    return {t for m in memories if m is not None and _exists(m.recipe) for t in m.trees()}


def _exists(recipe: str) -> bool:
    """Whether a recipe is there; one that cannot be asked for is not gone."""
    try:
        os.stat(recipe)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        pass
    return True


def _take_out(place: Path) -> None:
    # In the same folder, since that needs no new block on a disk that is full.
    with contextlib.suppress(FileNotFoundError):  # set aside meanwhile
        place.rename(place.with_name(f"{place.name}.{os.urandom(4).hex()}{GONE}"))


def _tidy(layout: Layout, max_age: float | None, now: float) -> None:
    """Remove what is small: what says nothing any more, and what is old."""

    def old(path: Path) -> bool:
        return max_age is not None and now - path.lstat().st_mtime > max_age

    ledger = Ledger(layout)
    for lookup_key, path in layout.ledger_files():
        entry = ledger.entry(path, lookup_key)
        if entry is None or not layout.object(entry.tree.digest).is_dir():
            remove(path)
    for path in layout.history_files():
        memory = ledger.memory(path)
        with contextlib.suppress(FileNotFoundError):
            if memory is None or (not _exists(memory.recipe) and (max_age is None or old(path))):
                remove(path)
    for path in layout.small_files():
        with contextlib.suppress(FileNotFoundError):
            if old(path):
                path.unlink()
    for folder in layout.draft_folders():
        clear_drafts(folder)
    for folder in layout.ledger_folders():
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
    for path in layout.lock_files():
        if (dead := locks.left_behind(path)) is not None:
            dead.release()
