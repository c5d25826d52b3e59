"""Where what the libraries said of a recipe lies: two projects may have recipes of one name."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from modelbuild.base.keys import digest_bytes
from modelbuild.store import inside
from modelbuild.store.files import remove
from modelbuild.store.layout import Layout

MOST_PROJECTS = 200
"""So many folders of logs stay. A checkout in a new folder, as CI makes them, has a new one."""

_FRESH = 86400  # seconds: a build may still write there
_SIGNS = (".git", "pyproject.toml")


def project(folder: Path) -> str:
    """What the logs of a folder's recipes lie in, ``shop-1f2e3d4c``: the name of its project, for who looks
    for them, and a digest of its own path, so that no two share one."""
    place = os.path.abspath(folder)
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", _root(Path(place)).name)[:40].lstrip(".") or "project"
    return f"{plain}-{digest_bytes(os.fsencode(place)).rpartition(':')[2][:8]}"


def _root(folder: Path) -> Path:
    """The nearest folder, at or above, that looks like a project's; or this one."""
    looks = (p for p in (folder, *folder.parents) if any(os.path.lexists(p / sign) for sign in _SIGNS))
    return next(looks, folder)


def path(layout: Layout, base: Path, recipe: str, action: str) -> Path:
    """Where an action's output goes, of the recipe of this name in the folder ``base``."""
    return layout.log(project(base), recipe, action)


def made(layout: Layout, base: Path, recipe: str, action: str) -> Path:
    """As ``path``, and its folder is there.

    Raises:
        OSError: the folder cannot be made.
    """
    log = path(layout, base, recipe, action)
    if not inside.is_folder(log.parent.parent, layout.root):
        _make_room(layout)
    inside.made(log.parent, layout.root)
    return log


def _make_room(layout: Layout) -> None:
    """Remove the logs of the projects that were built longest ago, before there is one more."""
    times = {folder: used for folder in layout.log_folders() if (used := _used(folder)) is not None}
    newest = max(times.values(), default=0.0)
    for folder in sorted(times, key=times.__getitem__, reverse=True)[MOST_PROJECTS - 1 :]:
        if newest - times[folder] > _FRESH:
            with contextlib.suppress(OSError):
                remove(folder)


def _used(folder: Path) -> float | None:
    """When something was last written there: each log is made anew."""
    return max(_times(folder), default=None)


def _times(folder: Path) -> Iterator[float]:
    with contextlib.suppress(OSError):
        yield folder.stat().st_mtime
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                yield entry.stat(follow_symlinks=False).st_mtime
