"""What a folder of the search path gives for a name: a new file there may take another's place."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def resolved(folder: str, names: Iterable[str]) -> dict[str, str | None]:
    """For each name the file (from ``folder``) that an import would find in it: ``blocks.py``,
    ``blocks/__init__.py``, ``blocks/`` for a package without one. None where there is nothing."""
    from importlib.machinery import (
        BYTECODE_SUFFIXES,
        EXTENSION_SUFFIXES,
        SOURCE_SUFFIXES,
        ExtensionFileLoader,
        FileFinder,
        SourceFileLoader,
        SourcelessFileLoader,
    )

    finder = FileFinder(
        folder,
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (SourceFileLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )
    found: dict[str, str | None] = {}
    for name in names:
        spec = finder.find_spec(name)
        if spec is None:
            found[name] = None
        elif spec.origin is None:
            found[name] = f"{name}/"
        else:
            found[name] = os.path.relpath(spec.origin, os.path.abspath(folder))
    return found


def on_the_way(folders: Iterable[str], names: Iterable[str], base: str | Path) -> dict[str, str | None]:
    """For each name the file (from ``base``) that an import finds in the first of these folders that
    has it. The recipe's folder comes before them all, and what is installed has versions."""
    home = os.path.realpath(base)
    found: dict[str, str | None] = dict.fromkeys(names)
    for folder in map(os.path.realpath, folders):
        if folder == home or os.path.basename(folder) in ("site-packages", "dist-packages"):
            continue
        # A folder without __init__.py only adds to a package: the search goes on.
        left = [name for name, file in found.items() if file is None or file.endswith("/")]
        for name, file in resolved(folder, left).items():
            if file is not None and (found[name] is None or not file.endswith("/")):
                found[name] = os.path.join(os.path.relpath(folder, home), file)
    return found


def as_text(found: dict[str, str | None]) -> str:
    """``blocks:blocks.py os torch``."""
    return " ".join(f"{name}:{found[name]}" if found[name] else name for name in sorted(found))


def names_in(text: str) -> list[str]:
    return [entry.partition(":")[0] for entry in text.split()]
