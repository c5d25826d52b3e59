"""Where a path leads, link by link. Nothing is opened, and nothing need be there."""

from __future__ import annotations

import os
from collections.abc import Iterator

_MOST = 40  # links, as the system has it


def leads_into(path: str, folder: str) -> bool:
    """Whether an absolute path leads to something below a folder, which is named without links."""
    return final(path).startswith(folder.rstrip("/") + "/")


def final(path: str) -> str:
    """Where an absolute path leads."""
    last = "/"
    for place in visited(path):
        last = place
    return last


def visited(path: str) -> Iterator[str]:
    """Every file, folder and link on the way to an absolute path, which need not be there; the last is
    where it leads."""
    todo = path.split("/")[::-1]
    here, links = "/", 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            yield here
            continue
        place = os.path.join(here, part)
        try:
            target = os.readlink(place)
        except (OSError, ValueError):
            here = place
            yield here
            continue
        yield place
        links += 1
        if links > _MOST:
            return
        if target.startswith("/"):
            here = "/"
            yield here
        todo += target.split("/")[::-1]
