"""The places in this process where code reads from outside, and a word to a watcher at each.

Audit hooks see files opened, folders listed and modules imported. They do not see questions (does
this path exist?), the environment, and what native code reads, so the functions for these are
replaced, once per process and for good; forks inherit them. Only the latest watcher is told.
"""

from __future__ import annotations

import functools
import importlib._bootstrap_external
import importlib.abc
import os
import posix
import shutil
import sys
import threading
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import CodeType, FrameType, ModuleType
from typing import Any, Literal, Protocol

from modelbuild.trace import catalogues, natives


@dataclass(frozen=True)
class Access:
    """How a file is opened. What it ``empties`` it does not read; "a" does neither."""

    reads: bool = False
    creates: bool = False
    empties: bool = False


# What a path is asked for.
Asks = Literal["stat", "link", "access"]

READ = Access(reads=True)
WRITE = Access(creates=True, empties=True)


class Watcher(Protocol):
    """``frame`` is the code that asks, or something that it called."""

    def opened(self, path: object, access: Access, frame: FrameType | None) -> None: ...
    def listed(self, path: object, frame: FrameType | None) -> None: ...
    def probed(self, path: object, frame: FrameType | None, asks: Asks) -> None: ...
    def ran(self, path: object, frame: FrameType | None) -> None: ...
    def which(self, name: str, frame: FrameType | None) -> None: ...
    def database(self, path: str, frame: FrameType | None) -> None: ...
    def enters(self, frame: FrameType | None) -> bool: ...
    def followed(self, path: object, frame: FrameType | None) -> None: ...
    def stood(self, frame: FrameType | None) -> None: ...
    def asked(self, name: str, frame: FrameType | None) -> None: ...
    def swept(self, frame: FrameType | None) -> None: ...
    def imported(self, name: str, frame: FrameType | None) -> None: ...
    def catalogued(self, kind: str, name: str, frame: FrameType | None) -> None: ...
    def made(self, path: object) -> None: ...
    def moved(self, source: object, target: object) -> None: ...
    def reads_source(self, path: str) -> bool: ...
    def forked(self) -> None: ...


_watcher: Watcher | None = None
_own_doing = threading.local()
_scanning: CodeType | None = None  # the frame of os.scandir's stand-in, which asks for its caller


def start(watcher: Watcher) -> None:
    """Tell ``watcher`` from now on."""
    global _watcher
    if _watcher is None:
        sys.addaudithook(_hook)
        _watch_probes()
        _watch_environment()
        _read_sources()
        catalogues.watch(_asked_of_a_catalogue)
        _wrap_libraries()
        sys.meta_path.insert(0, _Finder())
        os.register_at_fork(after_in_child=_forked)
    _watcher = watcher


@contextmanager
def unseen() -> Iterator[None]:
    """What the watcher itself reads is not the run's doing."""
    before = getattr(_own_doing, "now", False)
    _own_doing.now = True
    try:
        yield
    finally:
        _own_doing.now = before


def _forked() -> None:
    if _watcher is not None:
        with unseen():
            _watcher.forked()


def _active() -> Watcher | None:
    return None if getattr(_own_doing, "now", False) else _watcher


# ---- audit events ----


def _hook(event: str, args: tuple[Any, ...]) -> None:
    handle = _EVENTS.get(event)
    if handle is None or (watcher := _active()) is None:
        return
    with unseen():
        frame: FrameType | None = sys._getframe(1)
        if frame is not None and frame.f_code is _scanning:
            frame = frame.f_back
        handle(watcher, args, frame)


def _on_open(watcher: Watcher, args: tuple[Any, ...], frame: FrameType | None) -> None:
    path, mode, flags = args
    if path is None or isinstance(path, int):
        return
    if isinstance(mode, str):
        letters = set(mode)
        access = Access(
            reads="r" in letters or letters >= {"a", "+"},
            creates=not letters.isdisjoint("wxa"),
            empties=not letters.isdisjoint("wx"),
        )
    else:  # os.open()
        empties = bool(flags & (os.O_TRUNC | os.O_EXCL))
        writes_only = flags & os.O_ACCMODE == os.O_WRONLY
        access = Access(not (writes_only or empties), bool(flags & os.O_CREAT), empties)
        # Beside a dir_fd, of which the event does not tell, a relative path says nothing.
        if not access.creates and not os.path.isabs(path) and not os.path.lexists(path):
            return
    watcher.opened(path, access, frame)


def _on_list(watcher: Watcher, args: tuple[Any, ...], frame: FrameType | None) -> None:
    if not isinstance(args[0], int):
        watcher.listed("." if args[0] is None else args[0], frame)


def _on_extension(watcher: Watcher, args: tuple[Any, ...], frame: FrameType | None) -> None:
    if args[1] is not None:
        watcher.opened(args[1], READ, frame)


def _on_library(watcher: Watcher, args: tuple[Any, ...], frame: FrameType | None) -> None:
    name = args[0]
    if isinstance(name, str | bytes) and os.sep in os.fsdecode(name):
        watcher.opened(name, READ, frame)


def _on_database(watcher: Watcher, args: tuple[Any, ...], frame: FrameType | None) -> None:
    path = args[0]
    if isinstance(path, str) and path.startswith("file:"):
        from urllib.parse import unquote, urlsplit

        path = unquote(urlsplit(path).path)
    if os.path.isfile(path):  # else ":memory:", or a new one
        watcher.database(path, frame)


_EVENTS: dict[str, Callable[[Watcher, tuple[Any, ...], FrameType | None], None]] = {
    "open": _on_open,
    "os.listdir": _on_list,
    "os.scandir": _on_list,
    "import": _on_extension,
    "ctypes.dlopen": _on_library,
    "sqlite3.connect": _on_database,
    "os.mkdir": lambda watcher, args, frame: watcher.made(args[0]),
    "os.rename": lambda watcher, args, frame: watcher.moved(args[0], args[1]),
    "os.link": lambda watcher, args, frame: watcher.moved(args[0], args[1]),
    "os.symlink": lambda watcher, args, frame: watcher.moved(args[0], args[1]),
}


# ---- questions about paths ----


def _watch_probes() -> None:
    """os.path and pathlib look these up in ``os`` at each call; the import system uses ``posix``."""
    for name in ("stat", "lstat", "access"):
        plain = getattr(posix, name)
        watched = _probing(plain)
        for supporters in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if plain in supporters:
                supporters.add(watched)
        setattr(os, name, watched)
    plain_link, plain_folder, plain_scan = posix.readlink, posix.getcwd, posix.scandir
    plain_which = shutil.which

    @functools.wraps(plain_link)
    def readlink(path: Any, *args: Any, **kwargs: Any) -> Any:
        watcher = _active()
        if watcher is not None and kwargs.get("dir_fd") is None:
            with unseen():
                watcher.followed(path, sys._getframe(1))
        return plain_link(path, *args, **kwargs)

    @functools.wraps(plain_folder)
    def getcwd() -> str:
        if (watcher := _active()) is not None:
            with unseen():
                watcher.stood(sys._getframe(1))
        return plain_folder()

    @functools.wraps(plain_scan)
    def scandir(*args: Any, **kwargs: Any) -> Any:
        found = plain_scan(*args, **kwargs)
        watcher = _active()
        return _Entries(found) if watcher is not None and watcher.enters(sys._getframe(1)) else found

    @functools.wraps(plain_which)
    def which(cmd: Any, *args: Any, **kwargs: Any) -> Any:
        if (watcher := _active()) is not None and isinstance(cmd, str) and not (args or kwargs):
            with unseen():
                watcher.which(cmd, sys._getframe(1))
        return plain_which(cmd, *args, **kwargs)

    global _scanning
    _scanning = getattr(scandir, "__code__", None)
    os.supports_dir_fd.add(readlink)
    os.supports_fd.add(scandir)
    mine: Any = os
    mine.readlink, mine.getcwd, mine.scandir = readlink, getcwd, scandir
    shutil.which = which


def _probing(plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def watched(path: Any, *args: Any, **kwargs: Any) -> Any:
        watcher = _active()
        if watcher is not None and not isinstance(path, int) and kwargs.get("dir_fd") is None:
            with unseen():
                watcher.probed(path, sys._getframe(1), "access" if plain is posix.access else "stat")
                if plain is posix.access and os.X_OK & (args[0] if args else kwargs.get("mode", 0)):
                    watcher.ran(path, sys._getframe(1))
        return plain(path, *args, **kwargs)

    return watched


class _Entries:
    """What os.scandir gives, for code whose questions to the entries count: they ask the system natively."""

    def __init__(self, entries: Any) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[_Entry]:
        return self

    def __next__(self) -> _Entry:
        return _Entry(next(self._entries))

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries.close()


class _Entry(os.PathLike[Any]):
    def __init__(self, entry: os.DirEntry[Any]) -> None:
        self._entry = entry
        self.name, self.path = entry.name, entry.path
        self.inode, self.is_dir, self.is_file = entry.inode, entry.is_dir, entry.is_file

    def __fspath__(self) -> Any:
        return self.path

    def __repr__(self) -> str:
        return repr(self._entry)

    def is_symlink(self) -> bool:
        self._tell(sys._getframe(1), "link")
        return self._entry.is_symlink()

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        self._tell(sys._getframe(1), "stat")
        return self._entry.stat(follow_symlinks=follow_symlinks)

    def _tell(self, frame: FrameType, asks: Asks) -> None:
        if (watcher := _active()) is not None:
            with unseen():
                watcher.probed(self.path, frame, asks)


# ---- the environment ----


def _watch_environment() -> None:
    """``get``, ``in``, ``setdefault`` and os.getenv all come through ``__getitem__``.

    Going over all variables in one instruction, dict(os.environ), is no reading of each: a copy for
    a child process would make a fact of every terminal's name.
    """
    kind: Any = type(os.environ)
    plain_get, plain_iter = kind.__getitem__, kind.__iter__
    swept = threading.local()

    def note(key: Any) -> None:
        watcher = _active()
        if watcher is None or not isinstance(key, str | bytes):
            return
        frame = sys._getframe(2)
        if frame.f_code not in _VIEWS and _instruction(frame) != getattr(swept, "by", None):
            with unseen():
                watcher.asked(os.fsdecode(key), frame)

    # What torch.compiler.assume_constant_result() sets: Dynamo calls it and does not look inside.
    note._dynamo_marked_constant = True  # type: ignore[attr-defined]

    def get(self: Any, key: Any) -> Any:
        note(key)
        return plain_get(self, key)

    def iterate(self: Any) -> Iterator[Any]:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code in _VIEWS:
            frame = frame.f_back
        swept.by = frame and _instruction(frame)
        if (watcher := _active()) is not None:
            with unseen():
                watcher.swept(frame)
        yield from plain_iter(self)

    kind.__getitem__, kind.__iter__ = get, iterate


_VIEWS = {v.__iter__.__code__ for v in (KeysView, ItemsView, ValuesView)}


def _instruction(frame: FrameType) -> tuple[int, CodeType, int]:
    return id(frame), frame.f_code, frame.f_lasti


# ---- modules ----


def _read_sources() -> None:
    """First-party modules are compiled from their source, never taken from ``__pycache__``.

    Python trusts a compiled file whose note of the source's size and time (in whole seconds) fits:
    an edit of equal size with its time put back would run as it was before.
    """
    machinery: Any = importlib._bootstrap_external
    plain = machinery.cache_from_source

    def cache_from_source(path: Any, *args: Any, **kwargs: Any) -> Any:
        watcher = _active()
        if watcher is not None:
            with unseen():
                fresh = watcher.reads_source(os.fspath(path))
            if fresh:
                raise NotImplementedError  # as where sys.implementation.cache_tag is None
        return plain(path, *args, **kwargs)

    machinery.cache_from_source = cache_from_source


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing by itself: it is asked first for each module that is not in memory.

    The audit event "import" does not tell of importlib.import_module(). When a library comes of which
    something is to be wrapped, it is as soon as it is imported.
    """

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if (watcher := _active()) is not None:
            with unseen():
                watcher.imported(name, sys._getframe(1))
        if name not in (*natives.LIBRARIES, catalogues.LIBRARY):
            return None
        others = (f for f in sys.meta_path if f is not self and hasattr(f, "find_spec"))
        spec = next((s for f in others if (s := f.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            plain = loader.exec_module

            def execute(module: ModuleType) -> None:
                plain(module)
                _wrap_libraries()

            loader.exec_module = execute
        return spec


def _wrap_libraries() -> None:
    """What of ours stands in the place of theirs, in the libraries that are loaded."""
    natives.wrap(_opened_natively)
    catalogues.wrap(_asked_of_a_catalogue)


def _asked_of_a_catalogue(kind: str, name: str, frame: FrameType) -> None:
    if (watcher := _active()) is not None:
        with unseen():
            watcher.catalogued(kind, name, frame)


def _opened_natively(path: object, reads: bool) -> None:
    watcher = _active()
    if watcher is not None and isinstance(path, str | bytes | os.PathLike):
        with unseen():
            watcher.opened(path, READ if reads else WRITE, sys._getframe(1))
