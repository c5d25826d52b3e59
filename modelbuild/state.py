"""Nothing to do must cost nothing: what a recipe's last build saw, as stat rows in one small file.

If every row still holds, the last answer is the answer, and neither yaml, pydantic, numpy, onnx nor
torch is imported. A row that does not hold sends the build the long way round, where digests
decide; so a row may be too strict, and must never be too lax. The files are safe to delete.
"""

from __future__ import annotations

import hashlib
import json
import os
import site
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# A file that was written this shortly before the build began may have been written again within
# one tick of the file system's clock (4 to 10 ms), with the same size and the same times.
_TICK = 20_000_000

Row = list[Any]


def default_root() -> Path:
    """``$MODELBUILD_CACHE_DIR``, else the user's cache folder, else (for a user without a home, as
    in some containers) one among the temporary files."""
    if named := os.environ.get("MODELBUILD_CACHE_DIR"):
        return Path(named)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "modelbuild"
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        return Path(home) / ".cache" / "modelbuild"
    return Path(os.environ.get("TMPDIR", "/tmp")) / f"modelbuild-{os.getuid()}"


def row(path: str) -> Row:
    """``[path, size, mtime, ctime, inode]``, times in ns; ``[path, None]`` where nothing is.

    A folder's size means nothing; its times move when an entry comes or goes.
    """
    try:
        s = os.stat(path)
    except OSError:
        return [path, None]
    size = 0 if os.path.isdir(path) else s.st_size
    return [path, size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino]


def recall(cache: Path, recipe: str, out: Path) -> dict[str, Any] | None:
    """The last answer for this recipe, if everything it came from is as it was."""
    try:
        with open(_place(cache, recipe, out), encoding="utf-8") as file:
            state = json.load(file)
        if state["program"] == _program() and all(row(r[0]) == r for r in state["rows"]):
            answer: dict[str, Any] = state["answer"]
            return answer
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def keep(
    cache: Path,
    recipe: str,
    out: Path,
    answer: dict[str, Any],
    read: Iterable[str],
    written: Iterable[str],
    started: int,
) -> None:
    """Write down an answer, the files and folders it came from and the files it gave.

    ``started`` is when the build began (ns since 1970): what was changed since then, or just
    before, may have changed after it was read, and then nothing is kept.
    """
    rows = [row(p) for p in sorted({*read, *_own_files()})]
    if any(len(r) > 2 and max(r[2], r[3]) >= started - _TICK for r in rows):
        return
    rows += [row(p) for p in sorted(set(written))]
    state = {"program": _program(), "rows": rows, "answer": answer}
    place = _place(cache, recipe, out)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_name(f".{place.name}.{os.getpid()}")
        draft.write_text(json.dumps(state), encoding="utf-8")
        draft.replace(place)
    except OSError:
        pass  # the build is done and good; the next one only takes the long way


def now() -> int:
    return time.time_ns()


def _program() -> list[str]:
    return [sys.version, sys.prefix, *sys.path[1:]]


def _own_files() -> Sequence[str]:
    """modelbuild itself, and the folders in which a package that comes or goes leaves a trace."""
    home = os.path.dirname(__file__)
    folders = [home, *(os.path.join(home, d) for d in os.listdir(home))]
    own = [f for f in folders if os.path.isdir(f) and not f.endswith("__pycache__")]
    files = [os.path.join(f, name) for f in own for name in os.listdir(f) if name.endswith(".py")]
    return [*files, *site.getsitepackages()]


def _place(cache: Path, recipe: str, out: Path) -> Path:
    name = f"{os.path.abspath(recipe)}\0{os.path.abspath(out)}\0{os.getcwd()}"
    return cache / "state" / (hashlib.sha256(name.encode()).hexdigest()[:32] + ".json")
