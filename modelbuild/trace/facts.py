"""How the values of facts are read; ``kinds`` says which fact is of which.

Nothing here runs the user's code, and what only some kinds need is imported by them: a build with nothing
to do imports this module.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False  # typing costs 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SECRET = ("TOKEN", "KEY", "SECRET", "PASS", "CREDENTIAL", "AUTH")
_LONGEST = 60  # characters of a variable's value that are stored as they are


def file_digest(path: str | Path) -> str | None:
    """``sha256:…`` of a file's bytes; None if it is no file or cannot be read. Never waits."""
    import hashlib

    try:
        # A pipe would wait for a writer, and may have come since anybody looked.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


def presence(path: str) -> str | None:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return None
    return "folder" if stat.S_ISDIR(mode) else "file"


def target(path: str) -> str | None:
    """Where a symbolic link leads, as it says it."""
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return None


def size(path: str) -> str | None:
    """The bytes of a file."""
    try:
        return str(os.stat(path).st_size)
    except (OSError, ValueError):
        return None


def executable(path: str) -> str | None:
    """Can a file be run by its owner?"""
    try:
        return "yes" if os.stat(path).st_mode & stat.S_IXUSR else "no"
    except (OSError, ValueError):
        return None


JOURNAL = "-wal"


def journal(path: str) -> str | None:
    """What was written to an SQLite database and is still beside it."""
    beside = path + JOURNAL
    return file_digest(beside) if size(beside) not in (None, "0") else None


def by_time(names: Iterable[str], base: str) -> str:
    """The names of these paths from ``base``, the one that was modified first at the head."""
    import json

    def modified(name: str) -> tuple[int, str]:
        try:
            return os.stat(os.path.join(base, name)).st_mtime_ns, name
        except (OSError, ValueError):
            return -1, name

    return json.dumps(sorted(names, key=modified))


def json_list(value: str | None) -> list[str]:
    import json

    found: list[str] = json.loads(value or "[]")
    return found


def program(name: str) -> str | None:
    """Where a program is on PATH."""
    import shutil

    return shutil.which(name)


def search_path() -> list[str]:
    """Where the command's user has modules found, besides the recipe's folder and what is installed."""
    more = os.environ.get("PYTHONPATH")
    return list(dict.fromkeys(map(os.path.abspath, [".", *(more.split(os.pathsep) if more else [])])))


def listing(path: str, without: Iterable[str] = ()) -> str | None:
    """The names in a folder, and which of them are folders, as one value; ``without`` do not count."""
    without = sorted(without)
    try:
        with os.scandir(path) as entries:
            names = {e.name: "/" if e.is_dir() else "" for e in entries}
    except (OSError, ValueError):
        return None
    for name in ("__pycache__", *without):
        names.pop(name, None)
    return "/".join([_digest(sorted(name + kind for name, kind in names.items())), *without])


def variable(name: str, value: str | None) -> str | None:
    """A variable's value as it is stored: facts are shown, so nothing long and no secret."""
    if value is None:
        return None
    shown = len(value) <= _LONGEST and is_text(value) and not any(s in name.upper() for s in _SECRET)
    return value if shown else _digest([value])


def is_text(name: str) -> bool:
    """Can it be written into a file? A name of other bytes than UTF-8 cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _digest(texts: Iterable[str]) -> str:
    import hashlib

    return "sha256:" + hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()


def matched(pattern: str, base: str) -> str:
    """The paths that a pattern matches, as one value."""
    return _digest(_matches(pattern, base))


def looked_into(pattern: str, base: str) -> list[str]:
    """Every folder that a pattern looks into, and the names in it that are no patterns."""
    import glob

    parts = pattern.rstrip("/").split("/")
    found = {os.path.join(base, "")}
    for i in range(1, len(parts) + 1):
        head = "/".join(parts[:i])
        if not glob.has_magic(head):
            found.add(os.path.join(base, head))
        else:
            hits = (os.path.join(base, hit) for hit in _matches(head, base))
            found.update(filter(os.path.isdir, hits))
    return sorted(found)


def _matches(pattern: str, base: str) -> list[str]:
    from pathlib import Path

    from modelbuild.base import globs

    return globs.matches(pattern, Path(base))
