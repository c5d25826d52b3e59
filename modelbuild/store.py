"""Objects by content, results by key: the only module that writes into the cache.

An object is a folder of files, named by the digest of its listing, written beside its place and
renamed into it: it is there whole or not at all, and two builds may write the same one at once.
The ledger maps a step's facts to the object that they gave; a failure is never recorded.

    objects/ab/<digest>/…        the files, read-only
    ledger/ab/<digest>/*.json    entries: one per state of what the step read by itself
    history/<digest>.json        the facts of a recipe's last build, to word reasons with
    work/<pid>-<n>/              steps at work; removed when their process is gone
    logs/<recipe>/<action>.log   what the libraries said
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelbuild.keys import canonical, digest

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file, where the file system can
_numbers = itertools.count()


@dataclass(frozen=True)
class File:
    sha256: str  # plain hex, as sha256sum prints it
    bytes: int


@dataclass(frozen=True)
class Tree:
    """An object: its digest and what is in it."""

    digest: str
    files: Mapping[str, File]


@dataclass(frozen=True)
class Entry:
    """A step's stored result. ``discovered`` is what it read by itself, with the digests then."""

    key: str
    tree: Tree
    facts: Mapping[str, Any]
    discovered: Mapping[str, str | None] = field(default_factory=dict)
    diagnostics: tuple[Mapping[str, Any], ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak: int = 0

    def as_json(self) -> dict[str, Any]:
        files = {name: [f.sha256, f.bytes] for name, f in self.tree.files.items()}
        return {**self.__dict__, "tree": {"digest": self.tree.digest, "files": files}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Entry:
        """The entry as it was written.

        Raises:
            TypeError: this is not what ``as_json`` gives; or KeyError, or ValueError.
        """
        if not isinstance(data, dict) or not isinstance(data["tree"], dict):
            raise TypeError("not an entry")
        mappings = (data["facts"], data["discovered"], data["data"], data["tree"]["files"])
        said = data["diagnostics"]
        if not all(isinstance(m, dict) for m in (*mappings, *said)):
            raise TypeError("not an entry")
        files = {name: File(*row) for name, row in data["tree"]["files"].items()}
        tree = Tree(data["tree"]["digest"], files)
        return cls(**{**data, "tree": tree, "diagnostics": tuple(said)})


class Store:
    """A cache folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    # ---- objects ----

    def workspace(self) -> Path:
        """A new empty folder on the store's file system, for a step to write into."""
        folder = self.root / "work" / f"{os.getpid()}-{next(_numbers)}"
        folder.mkdir(parents=True)
        return folder

    def sweep(self) -> None:
        """Remove the work folders of processes that are gone."""
        with contextlib.suppress(FileNotFoundError):
            for folder in (self.root / "work").iterdir():
                pid = folder.name.partition("-")[0]
                if pid.isdigit() and not _alive(int(pid)):
                    shutil.rmtree(folder, ignore_errors=True)

    def discard(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def put(self, folder: Path) -> Tree:
        """Move a finished folder into the store; equal content is stored once."""
        files = {
            path.relative_to(folder).as_posix(): hash_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        name = digest({n: [f.sha256, f.bytes] for n, f in files.items()})
        place = self._place("objects", name)
        place.parent.mkdir(parents=True, exist_ok=True)
        for file in files:
            (folder / file).chmod(0o444)
        try:
            folder.rename(place)
        except OSError:
            if not place.is_dir():
                raise
            if not self.intact(Tree(name, files)):
                self.set_aside(name)
                with contextlib.suppress(OSError):  # another build was quicker
                    folder.rename(place)
            self.discard(folder)
        return Tree(name, files)

    def intact(self, tree: Tree) -> bool:
        """Whether every byte of an object is what its name says."""
        place = self._place("objects", tree.digest)
        try:
            return all(hash_file(place / name) == file for name, file in tree.files.items())
        except OSError:
            return False

    def set_aside(self, name: str) -> None:
        """Take a damaged object out of the store, so that it is made again."""
        aside = self.workspace()
        with contextlib.suppress(FileNotFoundError):
            self._place("objects", name).rename(aside / "object")
        self.discard(aside)

    def folder(self, tree: Tree) -> Path | None:
        """Where an object is, or None if it, or one of its files, is gone or has another size."""
        place = self._place("objects", tree.digest)
        for name, file in tree.files.items():
            try:
                if (place / name).stat().st_size != file.bytes:
                    return None
            except OSError:
                return None
        return place

    # ---- ledger ----

    def entries(self, cheap: str) -> list[Entry]:
        """What the ledger knows for these facts, newest first; unreadable entries do not count."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            paths = sorted(
                self._place("ledger", cheap).glob("*.json"),
                key=lambda p: p.stat().st_mtime_ns,
                reverse=True,
            )
            for path in paths:
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    found.append(Entry.from_json(json.loads(path.read_text())))
        return found

    def record(self, cheap: str, entry: Entry) -> None:
        name = entry.key.partition(":")[2] + ".json"
        write_atomically(self._place("ledger", cheap) / name, canonical(entry.as_json()))

    # ---- the last build of a recipe ----

    def history(self, recipe: str) -> dict[str, Any]:
        """The facts of each action when this recipe was last built; empty if never."""
        with contextlib.suppress(OSError, ValueError):
            data = json.loads(self._history(recipe).read_text())
            if isinstance(data, dict) and all(_is_memory(m) for m in data.values()):
                return data
        return {}

    def remember(self, recipe: str, facts: Mapping[str, Any]) -> None:
        write_atomically(self._history(recipe), canonical(dict(facts)))

    def log(self, recipe: str, action: str) -> Path:
        """Where an action's output goes."""
        path = self.root / "logs" / recipe / f"{action.replace(' ', '-')}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _history(self, recipe: str) -> Path:
        return self.root / "history" / (digest(recipe).partition(":")[2][:32] + ".json")

    def _place(self, kind: str, name: str) -> Path:
        plain = name.partition(":")[2]
        return self.root / kind / plain[:2] / plain


def hash_file(path: Path) -> File:
    """SHA-256 and size of a file (1.6 GB/s on the machines this was measured on)."""
    with open(path, "rb") as file:
        hashed = hashlib.file_digest(file, "sha256").hexdigest()
        return File(hashed, os.fstat(file.fileno()).st_size)


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}")
    try:
        draft.write_text(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def publish(source: Path, target: Path) -> None:
    """Copy a stored file to where users look for it: whole, writable, never linked to the store."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(source, "rb") as read, open(draft, "wb") as written:
            try:
                fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())
            except OSError:
                shutil.copyfileobj(read, written, 1 << 24)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _is_memory(found: object) -> bool:
    """Whether this is what a build remembers of an action: its facts, and what it read by itself."""
    return isinstance(found, dict) and all(
        isinstance(found.get(part), dict) for part in ("facts", "discovered")
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
