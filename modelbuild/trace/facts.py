"""What a discovered fact is now, and which files and folders would show that it moved.

    file models/net.py      digest of its bytes
    absent models/net.json  nothing; it was looked for
    present data            "file" or "folder"; it was looked for and not read
    made cache.bin          digest of a file that the run has made and left; it may be gone
    link current            where a symbolic link leads that was asked for it; nothing if it is none
    size weights.bin        bytes of a file that was looked at for its size and not read
    executable run.sh       "yes" or "no": whether a file that was asked for it can be run
    journal data.db         digest of what an SQLite database has in the file beside it
    order of-times          the files that were asked for their times, the oldest first
    which nvcc              where a program is that was looked for on PATH
    listing data            digest of the sorted names in a folder that was listed; after it, those
                            that do not count, which a build writes itself
    modules models          how the imported names resolve in a folder of the search path
    search                  how they resolve in the command's folder and those of PYTHONPATH
    cwd                     the command's folder: a relative path was used
    glob data/*.npz         digest of the paths that a pattern of the recipe matches
    env WIDTH               an environment variable's value, or its digest
    package transformers    whose installed module it is, and its version
    distribution torchvision  a version that was asked of ``importlib.metadata``
    entry-points my.plugins   digest of a group of entry points, with the versions of who brings them
    installed distributions   digest of all distributions and their versions

Paths are relative to the recipe's folder where they can be. Nothing here runs the user's code, and
what only some kinds need is imported by them: a build with nothing to do imports this module.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False  # typing costs 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# What is installed shows in the rows of the program's own folders, and of those on PYTHONPATH.
CATALOGUED = ("distribution", "entry-points", "installed")
INSTALLED = ("package", *CATALOGUED)

_SECRET = ("TOKEN", "KEY", "SECRET", "PASS", "CREDENTIAL", "AUTH")
_LONGEST = 60  # characters of a variable's value that are stored as they are


def current(name: str, value: str | None, base: Path) -> str | None:
    """What the fact is now; ``value`` is what it was. None where there is nothing any more."""
    kind, _, rest = name.partition(" ")
    path = os.path.join(base, rest)
    if kind == "file":
        return file_digest(path)
    if kind in ("absent", "present"):
        return presence(path)
    if kind == "made":
        return file_digest(path) if os.path.lexists(path) else value
    if kind == "link":
        return target(path)
    if kind in _OF_PATHS:
        return _OF_PATHS[kind](path)
    if kind == "order":
        return by_time(json_list(value), str(base))
    if kind == "which":
        return program(rest)
    if kind == "listing":
        return listing(path, (value or "").split("/")[1:])
    if kind == "cwd":
        return os.path.relpath(os.path.realpath(os.getcwd()), os.path.realpath(base))
    if kind in ("modules", "search"):
        from modelbuild.trace import searching

        names = searching.names_in(value or "")
        if kind == "search":
            return searching.as_text(searching.on_the_way(search_path(), names, base))
        return searching.as_text(searching.resolved(path, names))
    if kind == "glob":
        return _digest(_matches(rest, base))
    if kind == "env":
        return variable(rest, os.environ.get(rest))
    from modelbuild.trace import distributions

    if kind in CATALOGUED:
        return distributions.catalogued(kind, rest, str(base))
    return distributions.standing(rest, str(base))


def question(name: str, value: str | None) -> str:
    """What was asked where the answer was ``value``: two runs may ask other names of one folder."""
    kind = name.partition(" ")[0]
    if kind in ("modules", "search"):
        from modelbuild.trace import searching

        return " ".join(searching.names_in(value or ""))
    if kind == "order":
        return "\0".join(sorted(json_list(value)))
    return "/".join((value or "").split("/")[1:]) if kind == "listing" else ""


def guards(name: str, value: str | None, base: Path) -> list[str]:
    """Paths whose stat rows cannot all stay the same when the fact moves.

    None for variables, which have no file, and for packages: their folders are everybody's.
    """
    kind, _, rest = name.partition(" ")
    path = os.path.join(base, rest)
    if kind in ("file", "absent", "present", "listing", "made", "size", "executable"):
        return [path]
    if kind == "journal":
        return [path + _JOURNAL]
    if kind == "order":
        return [os.path.join(base, name) for name in json_list(value)]
    if kind == "which":
        return [p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(p)]
    if kind == "link":  # the row is of what it leads to; making it anew moves its folder's
        return [path, os.path.dirname(path)]
    if kind == "cwd":
        return [os.getcwd()]
    if kind in ("modules", "search"):
        from modelbuild.trace.searching import names_in

        folders = [path] if kind == "modules" else search_path()
        inner = (os.path.join(folder, name) for folder in folders for name in names_in(value or ""))
        return [*folders, *filter(os.path.isdir, inner)]
    return _folders(rest, base) if kind == "glob" else []


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


_JOURNAL = "-wal"


def journal(path: str) -> str | None:
    """What was written to an SQLite database and is still beside it."""
    beside = path + _JOURNAL
    return file_digest(beside) if size(beside) not in (None, "0") else None


_OF_PATHS = {"size": size, "executable": executable, "journal": journal}


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


def _matches(pattern: str, base: Path) -> list[str]:
    from modelbuild.base import globs

    return globs.matches(pattern, base)


def _folders(pattern: str, base: Path) -> list[str]:
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
