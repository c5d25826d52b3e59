"""What a discovered fact is now, and which files and folders would show that it moved.

    file models/net.py      digest of its bytes
    absent models/net.json  nothing; it was looked for
    listing data            digest of the sorted names in a folder that was listed
    modules models          how the imported names resolve in a folder of the search path
    glob data/*.npz         digest of the paths that a pattern of the recipe matches
    env WIDTH               an environment variable's value
    package transformers    a distribution's version

Paths are relative to the recipe's folder where they can be.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from modelbuild.store import hash_file


def current(name: str, value: str | None, base: Path) -> str | None:
    """What the fact is now; ``value`` is what it was. None where there is nothing any more."""
    kind, _, rest = name.partition(" ")
    if kind == "file":
        return file_digest(base / rest)
    try:
        return importlib.metadata.version(rest)
    except importlib.metadata.PackageNotFoundError:
        return None


def guards(name: str, value: str | None, base: Path) -> list[str]:
    """Paths whose stat rows cannot all stay the same when the fact moves."""
    kind, _, rest = name.partition(" ")
    return [str(base / rest)] if kind == "file" else []


def file_digest(path: Path) -> str | None:
    try:
        return "sha256:" + hash_file(path).sha256
    except OSError:
        return None
