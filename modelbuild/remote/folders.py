"""A remote in a folder (``file://``), on a disk that several machines have: reached through no link.

Whoever writes there is as much a stranger as whoever is behind a server. A link in the place of a folder or
a file is not followed, a pipe is not opened, and what a file is called decides nothing but its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelbuild.remote.failing import Damaged, Forbidden, Trouble
from modelbuild.remote.layout import RemoteFile
from modelbuild.store import inside

_DRAFT = ".draft-"
_CHUNK = 1 << 20
_NO_FILE = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)


class Folder:
    """What ``bucket`` asks of a place, on a file system. Names have ``/`` between their parts."""

    def __init__(self, url: str) -> None:
        self._root = Path(unquote(urlsplit(url).path))

    def held(self, prefix: str) -> Iterator[RemoteFile]:
        """What lies below a folder; nothing if there is no such folder.

        Raises:
            Trouble: it cannot be listed.
        """
        with _told():
            if not self._root.is_dir():
                raise Trouble(f"there is no folder {self._root}")
            yield from self._below(self._root / prefix)

    def _below(self, folder: Path) -> Iterator[RemoteFile]:
        if not inside.is_folder(folder, self._root):
            if os.path.lexists(folder):
                yield self._seen(folder)  # a link, or a file: who asks for it is told
            return
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if entry.name.startswith(_DRAFT):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._below(Path(entry.path))
            else:
                with contextlib.suppress(FileNotFoundError):
                    yield self._seen(Path(entry.path))

    def _seen(self, path: Path) -> RemoteFile:
        row = os.lstat(path)
        return RemoteFile(path.relative_to(self._root).as_posix(), row.st_size, row.st_mtime)

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file.

        Raises:
            FileNotFoundError: it is not there.
            Damaged: no plain file is there.
            Trouble: it cannot be read.
        """
        with _told(), open(inside.opened(self._root / name, self._root), "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def exists(self, name: str) -> bool:
        """Whether a plain file is there.

        Raises:
            Trouble: nobody can say.
        """
        path = self._root / name
        with _told():
            try:
                return inside.is_folder(path.parent, self._root) and stat.S_ISREG(os.lstat(path).st_mode)
            except FileNotFoundError:
                return False

    def create(self, name: str, content: bytes | Path) -> None:
        """Put a file there, whole or not at all.

        Raises:
            FileExistsError: something is there.
            Trouble: it cannot be written.
        """
        path = self._root / name
        draft = path.with_name(f"{_DRAFT}{os.urandom(8).hex()}")
        with _told():
            inside.made(path.parent, self._root)
            try:
                with open(
                    inside.opened(draft, self._root, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb"
                ) as file:
                    if isinstance(content, bytes):
                        file.write(content)
                    else:
                        with open(content, "rb") as source:
                            shutil.copyfileobj(source, file, _CHUNK)
                # Fails where the name is taken, as no rename does.
                os.link(draft, path, follow_symlinks=False)
            finally:
                draft.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Take a file away, if it is there.

        Raises:
            Trouble: it cannot be.
        """
        path = self._root / name
        with _told():
            if inside.is_folder(path.parent, self._root):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except PermissionError as error:
        raise Forbidden(f"{error.filename}: {error.strerror}") from error
    except OSError as error:
        if error.errno in _NO_FILE:
            raise Damaged("no plain file is there, and no link is followed") from error
        raise Trouble(f"{error.filename}: {error.strerror}") from error
