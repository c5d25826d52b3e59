"""``manifest.json``, as it is read: it lies in an output folder, where anybody may have put it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from modelbuild.base.records import MEASURED, SOURCES
from modelbuild.base.shapes import mapping, maybe, name, record, rows, text

MANIFEST = "manifest.json"

_MOST_BYTES = 1 << 26  # that of a graph of 10 000 nodes has 3 MB

_ENTRY = {"key": maybe(text), "sha256": maybe(text), "parity": maybe(MEASURED), "status": text}
_ARTIFACT = record({"name": name}, {**_ENTRY, "published": record({}, _ENTRY, open=True)}, open=True)
_ACTION = record(
    {"id": text},
    {"artifact": maybe(text), "key": maybe(text), "needs": mapping(text), "sources": SOURCES},
    open=True,
)
_ACTIONS = rows(_ACTION)
_MANIFEST = record(
    {"artifacts": rows(_ARTIFACT)},
    {"recipe": maybe(text), "toolchain": maybe(mapping(maybe(text)))},
    open=True,
)


def content(path: Path) -> bytes:
    """What the file holds.

    Raises:
        OSError: there is none that can be read.
        ValueError: it is no file, or larger than any manifest.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for a writer
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("it is no regular file")
        with open(handle, "rb", closefd=False) as file:
            data = file.read(_MOST_BYTES + 1)
    finally:
        os.close(handle)
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES >> 20} MiB")
    return data


def read(path: Path) -> dict[str, Any]:
    """A manifest whose parts are what they should be.

    Raises:
        OSError: there is none that can be read.
        ValueError: it is something else.
    """
    try:
        found: dict[str, Any] = json.loads(content(path))
    except RecursionError:
        raise ValueError("it is no JSON that anybody would write") from None
    if not _MANIFEST(found):
        raise ValueError("it is not what a build writes")
    if not _ACTIONS(found.get("actions")):  # of an earlier version
        found["actions"] = []
    return found
