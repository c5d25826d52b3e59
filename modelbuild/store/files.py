"""Single files: hash, write, publish. Readers see the old content or the new, never a part.

A draft is written beside its target and renamed. Its writer holds a lock on it, so that a draft
that a dead process left can be told from one that is being written, and removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from modelbuild.store import locks

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file, where the file system can
_DRAFT = ".modelbuild-draft"


@dataclass(frozen=True)
class File:
    sha256: str  # plain hex, as sha256sum prints it
    bytes: int


def hash_file(path: Path) -> File:
    """SHA-256 and size of a file (1.6 GB/s on the machines this was measured on)."""
    with open(path, "rb") as file:
        return hashed(file)


def hashed(file: BufferedReader) -> File:
    """As ``hash_file``, of one that is open."""
    found = hashlib.file_digest(file, "sha256").hexdigest()
    return File(found, os.fstat(file.fileno()).st_size)


def write_atomically(path: Path, text: str) -> None:
    """Put a whole text in the place of what was there."""
    clear_drafts(path.parent)
    with _draft(path) as (draft, fd):
        with open(fd, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)
        draft.rename(path)


def publish_all(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Copy stored files to where users look for them, as one: (source, target), the main file last.

    The main file is the one that names the others, as an ONNX file does its weights. If several
    change, it is away from the moment the first is replaced until all are: whoever opens it, also
    after a kill in between, finds nothing or the right files, never new weights under an old graph.

    Raises:
        OSError: until all are copied (a full disk) the old files stay as they were; no draft is left.
    """
    for folder in {target.parent for _, target in pairs}:
        clear_drafts(folder)
    with contextlib.ExitStack() as until_done:
        drafts = []
        for source, target in pairs:
            draft, fd = until_done.enter_context(_draft(target))
            _copy(source, fd)
            drafts.append(draft)
        # Two builds that publish other bytes at once must not mix theirs.
        until_done.enter_context(locks.alone(pairs[-1][1].parent))
        if len(pairs) > 1:
            pairs[-1][1].unlink(missing_ok=True)
        for draft, (_, target) in zip(drafts, pairs, strict=True):
            draft.rename(target)


def remove(path: Path) -> None:
    """Remove what should be a file, also if a folder or a link is in its place, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clear_drafts(folder: Path) -> None:
    """Remove the drafts that dead processes left in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            if entry.name.endswith(_DRAFT) and (dead := locks.left_behind(Path(entry.path))) is not None:
                dead.release()


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[tuple[Path, int]]:
    """A new file beside ``target``, and its descriptor; removed if it is still there at the end."""
    lock = None
    tries = 0
    while lock is None:  # cleared before it was locked, or its folder was empty and removed: rare
        target.parent.mkdir(parents=True, exist_ok=True)
        tries += 1
        try:
            lock = locks.take(target.with_name(f".{target.name}.{os.urandom(6).hex()}{_DRAFT}"))
        except FileNotFoundError:
            if tries > 100:  # a folder such as /proc, which takes no file and never will
                raise
    with lock:
        assert lock.fd is not None
        yield lock.path, lock.fd


def _copy(source: Path, fd: int) -> None:
    with open(source, "rb") as read, open(fd, "wb", closefd=False) as written:
        try:
            fcntl.ioctl(fd, _FICLONE, read.fileno())
        except OSError:
            shutil.copyfileobj(read, written, 1 << 24)
