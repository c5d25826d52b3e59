"""Below one folder, and nowhere else: what lies there is reached part by part, through no link.

Whoever can write to a cache can put a link in the place of any of its folders and files. A name that
leads out of it is not followed: for who reads, nothing is there; for who writes, it is an error.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe would wait for its other end.
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def is_folder(path: Path, root: Path) -> bool:
    """Whether a folder is there, and so is each on the way to it from ``root``."""
    try:
        return all(stat.S_ISDIR(os.lstat(place).st_mode) for place in _way(path, root))
    except (OSError, ValueError):
        return False


def made(path: Path, root: Path) -> Path:
    """The folder ``path``, made if it is not there; ``root`` and what is above it, too.

    Raises:
        OSError: it cannot be made, or there is a link or a file on the way from ``root``.
    """
    _made_root(root)
    for place in _way(path, root):
        try:
            os.mkdir(place)
        except FileExistsError:
            _be_folder(place)
    return path


def opened(path: Path, root: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file that no other folder has as well, unless it is only read.

    Raises:
        OSError: there is none, or the way to it from ``root`` is not only folders.
    """
    *folders, name = path.relative_to(root).parts
    here = os.open(root, _FOLDER)
    try:
        for part in folders:
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        fd = os.open(name, flags | _SAFELY, 0o666, dir_fd=here)
    finally:
        os.close(here)
    return checked(fd, path)


def opened_here(path: Path, flags: int) -> int:
    """As ``opened``, of a file whose folder the caller vouches for."""
    return checked(os.open(path, flags | _SAFELY, 0o666), path)


def checked(fd: int, path: Path) -> int:
    """The descriptor, if it is of a regular file; to write, of one that has no second name elsewhere."""
    import fcntl

    seen = os.fstat(fd)
    writes = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    if not stat.S_ISREG(seen.st_mode) or (writes and seen.st_nlink > 1):
        os.close(fd)
        raise OSError(errno.ELOOP, "it is no file of its own, and a cache has no others", str(path))
    return fd


def content(path: Path, root: Path, most: int) -> bytes:
    """The bytes of a file that is not larger than ``most``.

    Raises:
        OSError: as ``opened``, or it is larger.
    """
    with open(opened(path, root), "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MiB", str(path))
    return data


def _made_root(root: Path) -> None:
    """Where everybody can make a name, only its owner can do so in what is made."""
    while True:
        try:
            shared = os.stat(root.parent).st_mode & 0o002
            os.mkdir(root, 0o700 if shared else 0o777)
        except FileExistsError:
            return
        except FileNotFoundError:
            os.makedirs(root.parent, exist_ok=True)


def _way(path: Path, root: Path) -> list[Path]:
    """Each folder below ``root`` on the way to ``path``, and that itself."""
    place, found = root, []
    for part in path.relative_to(root).parts:
        place = place / part
        found.append(place)
    return found


def _be_folder(place: Path) -> None:
    mode = os.lstat(place).st_mode
    if stat.S_ISLNK(mode):
        raise NotADirectoryError(
            errno.ELOOP, "it is a link, and nothing in a cache is looked for behind one", str(place)
        )
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
