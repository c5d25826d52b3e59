"""Which paths are the user's own, and what a fact calls them.

The user's own, or *first-party*, is everything outside the Python installation, the system, this
program, and the folders that a build writes into. Installed files are known by the version of
their distribution, and the system's are not watched.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# What a system has outside Python's own folders. A user's files may be anywhere else, also in
# /usr/local/src or below /opt/conda, so a prefix as a whole is never left out.
_SYSTEM = (
    "/proc", "/sys", "/dev", "/run", "/etc", "/lib", "/lib64", "/usr/lib", "/usr/lib64",
    "/usr/share", "/usr/local/lib", "/usr/local/share",
)  # fmt: skip
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def installed() -> tuple[str, ...]:
    """The folders of installed distributions and of the standard library now, each with a slash."""
    named = sysconfig.get_paths()
    folders = [named[key] for key in ("stdlib", "platstdlib", "purelib", "platlib", "include", "platinclude")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    folders += [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")]
    folders += [p for p in sys.path if p.endswith(".zip") and p.startswith(sys.base_prefix)]
    folders += [os.path.join(sys.base_prefix, d) for d in ("lib", "share", "etc", "include", "ssl")]
    return _with_slash(folders)


@cache
def standard() -> tuple[str, ...]:
    """The standard library's folders, each with a slash. On some systems they hold site-packages."""
    return _with_slash(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib"))


@cache
def own() -> tuple[str, ...]:
    """This program's folder."""
    return _with_slash([_OWN])


@cache
def system() -> tuple[str, ...]:
    return _with_slash(_SYSTEM)


def is_standard(path: str) -> bool:
    return path.startswith(standard()) and "/site-packages/" not in path and "/dist-packages/" not in path


class Places:
    """A build's folders: ``base`` (the recipe's), the current one, and those to leave out."""

    def __init__(self, base: Path, ignored: Iterable[Path] = ()) -> None:
        self._folder = os.path.abspath(base)
        self._base = os.path.realpath(base)
        self._cwd = os.path.realpath(os.getcwd())
        homes = [self._folder, self._base] + ([self._cwd] if self._cwd != os.sep else [])
        self._homes = _with_slash(homes)
        self._outside = (*installed(), *system(), *own(), *_with_slash(map(str, ignored)))
        self._edges = {*self._outside, *self._homes}
        self._real: dict[str, str] = {}
        self._verdicts: dict[str, bool] = {}

    @property
    def base(self) -> str:
        return self._base

    @property
    def cwd(self) -> str:
        """The current folder when this was made."""
        return self._cwd

    def absolute(self, path: object) -> str | None:
        """A path as some code gave it, from the current folder at this moment. None: no path.

        Symbolic links stay in it, so that one that is turned elsewhere is noticed; ``..`` after
        one is followed, as the system does.
        """
        try:
            text = os.fsdecode(path)  # type: ignore[arg-type]
            if not text or "\0" in text:
                return None
            joined = text if text.startswith(os.sep) else os.path.join(os.getcwd(), text)
        except (TypeError, OSError, UnicodeError):
            return None
        plain = os.path.normpath(joined)
        return self.real(joined) if "/../" in joined else plain

    def real(self, path: str) -> str:
        """The path with the links in its folders followed. The file itself may be a link: package
        managers link installed files into their own cache."""
        folder, name = os.path.split(path.rstrip(os.sep))
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name) if name not in (".", "..") else os.path.realpath(path)

    def counts(self, path: str) -> bool:
        """Is this absolute path first-party? Of two folders that it is in, the inner one says."""
        if path + os.sep in self._edges:
            return self._inside(path)
        folder = os.path.dirname(path)
        if folder not in self._verdicts:  # of 1,500 modules, most have the same few folders
            self._verdicts[folder] = self._inside(folder) and self._inside(os.path.realpath(folder))
        return self._verdicts[folder]

    def near(self, path: str) -> bool:
        """Is it in the recipe's folder or the one that the command runs from?"""
        return path.startswith(self._homes) or self.real(path).startswith(self._homes)

    def holds(self, path: str) -> bool:
        """Is it the recipe's folder or the current one, or are these inside it?"""
        return any(home.startswith(path.rstrip(os.sep) + os.sep) for home in self._homes)

    def _inside(self, path: str) -> bool:
        path += os.sep
        out = max((len(p) for p in self._outside if path.startswith(p)), default=0)
        if not out:
            return True
        return max((len(p) for p in self._homes if path.startswith(p)), default=-1) >= out

    def name(self, path: str) -> str:
        """What a fact calls it: from the recipe's folder where it is near or in a folder above, else
        absolute."""
        for shown in (path, self.real(path)):
            for folder in (self._folder, self._base, self._cwd):
                if folder != os.sep and (shown + os.sep).startswith(folder + os.sep):
                    root = self._base if folder == self._folder else folder
                    return os.path.relpath(root + shown[len(folder) :], self._base)
        folder, last = os.path.split(self.real(path))
        if folder != os.sep and self._base.startswith(folder + os.sep):  # as a search upwards finds it
            return os.path.relpath(os.path.join(folder, last), self._base)
        return path


def _with_slash(folders: Iterable[str]) -> tuple[str, ...]:
    """As given, and with links followed: a path may be spelled either way."""
    both = {q.rstrip(os.sep) + os.sep for p in folders for q in (os.path.abspath(p), os.path.realpath(p))}
    return tuple(sorted(both - {os.sep}))
