"""What tests of a cache that others write to begin with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from modelbuild.base.keys import digest

NOW = 2e9
LOCK = "action a"
ACTION = {"facts": {"step": "x"}, "discovered": {}, "tree": digest({}), "seconds": 1.0, "peak": 3}


def everything(folder: Path) -> dict[str, Any]:
    """Everything below a folder: what it is, what is in it, how often it has a name, when it changed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (seen.st_mode, content, seen.st_mtime_ns)
    return found


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
