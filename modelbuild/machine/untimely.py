"""Files whose times do not tell when they were written: what they are has to be asked of their bytes.

Who writes through a mapping moves a file's times when a page is first made dirty, and not again for as
long as it is: half a minute. And a file server has a clock of its own, which may be behind.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from functools import cache

# File systems that take the time from this machine's clock. Any other may be somebody else's.
_OF_THIS_CLOCK = frozenset(
    {
        *("bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "iso9660", "jfs"),
        *("ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "vfat", "xfs", "zfs"),
    }
)
_MAPPING = re.compile(rb"^\S+ .w.s \S+ \S+ \d+ +(/.*)$", re.MULTILINE)


def mapped(paths: Collection[str]) -> set[str]:
    """Those that a process of this user can write to through its memory, at this moment."""
    real: dict[bytes, list[str]] = {}
    for path in paths:
        real.setdefault(os.fsencode(os.path.realpath(path)), []).append(path)
    found: set[str] = set()
    for text in _memory_maps() if real else ():
        for name in _MAPPING.findall(text):
            found.update(real.get(name, ()))
    return found


def has_another_clock(path: str) -> bool:
    """Whether the times of a path may be by the clock of another machine."""
    return _is_of_another_clock(os.path.dirname(os.path.realpath(path)))


@cache
def _is_of_another_clock(folder: str) -> bool:
    kind = kind_of(folder, _mounts())
    return kind is not None and kind not in _OF_THIS_CLOCK


def kind_of(folder: str, mounts: Iterable[tuple[str, str]]) -> str | None:
    """The kind of file system that a folder is on; the last one mounted on a place is the one seen."""
    found, longest = None, -1
    for place, kind in mounts:
        if len(place) >= longest and f"{folder}/".startswith(place.rstrip("/") + "/"):
            found, longest = kind, len(place)
    return found


@cache
def _mounts() -> tuple[tuple[str, str], ...]:
    """Where something is mounted, and of which kind; nothing where the system does not say (not Linux)."""
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as file:
            lines = [line.split() for line in file]
    except OSError:
        return ()
    return tuple((_unescaped(f[4]), f[f.index("-") + 1]) for f in lines)


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), text)


def _memory_maps() -> Iterable[bytes]:
    """What each process that we may ask has mapped."""
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return
    for number in numbers:
        try:
            with open(f"/proc/{number}/maps", "rb") as file:
                yield file.read()
        except OSError:  # it is gone, or another user's
            continue
