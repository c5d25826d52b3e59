"""What a discovered fact is now, and which files and folders would show that it moved.

    file models/net.py      digest of its bytes
    absent models/net.json  nothing; it was looked for
    present data            "file" or "folder"; it was looked for and not read
    listing data            digest of the sorted names in a folder that was listed; after it, those
                            that do not count, which a build writes itself
    modules models          how the imported names resolve in a folder of the search path
    glob data/*.npz         digest of the paths that a pattern of the recipe matches
    env WIDTH               an environment variable's value, or its digest
    package transformers    a distribution's version

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
    if kind == "listing":
        return listing(path, (value or "").split("/")[1:])
    if kind == "modules":
        from modelbuild.trace.searching import as_text, names_in, resolved

        return as_text(resolved(path, names_in(value or "")))
    if kind == "glob":
        return _digest(sorted(_matches(rest, base)))
    if kind == "env":
        return variable(rest, os.environ.get(rest))
    from modelbuild.trace import distributions

    found = distributions.version(rest)
    # Nothing by this name could be imported: what comes may be called otherwise (yaml, PyYAML).
    return "present" if found is None and value is None and distributions.can_be_imported(rest) else found


def guards(name: str, value: str | None, base: Path) -> list[str]:
    """Paths whose stat rows cannot all stay the same when the fact moves.

    None for variables, which have no file, and for packages: their folders are everybody's.
    """
    kind, _, rest = name.partition(" ")
    path = os.path.join(base, rest)
    if kind in ("file", "absent", "present", "listing"):
        return [path]
    if kind == "modules":
        from modelbuild.trace.searching import names_in

        inner = (os.path.join(path, name) for name in names_in(value or ""))
        return [path, *filter(os.path.isdir, inner)]
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


def listing(path: str, without: Iterable[str] = ()) -> str | None:
    """The names in a folder as one value; ``without`` are names that do not count."""
    without = sorted(without)
    try:
        names = set(os.listdir(path)) - {"__pycache__", *without}
    except (OSError, ValueError):
        return None
    return "/".join([_digest(sorted(names)), *without])


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
    import glob

    return glob.glob(pattern, root_dir=base, recursive=True)


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
