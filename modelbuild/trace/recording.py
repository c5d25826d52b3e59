"""What a run read by itself, as facts (see ``trace.facts``): noted while it runs, valued at its end."""

from __future__ import annotations

import os
import posix
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from modelbuild.environment import ENVIRONMENT
from modelbuild.trace import watching
from modelbuild.trace.facts import file_digest, is_text, listing, presence, variable
from modelbuild.trace.frames import Callers
from modelbuild.trace.imports import Imports
from modelbuild.trace.outline import imported, outlined, parsed
from modelbuild.trace.places import Places

# A file written this shortly before it was opened may be written again with the same times: clocks
# of file systems tick every 4 to 10 ms. Some keep whole seconds.
_TICK = 20_000_000
_COARSE_TICK = 2_000_000_000
_SMALL = 1 << 20  # bytes; hashed in a millisecond


@dataclass(frozen=True)
class Found:
    """What a run read. ``unstable`` are the files that changed while it ran; ``outlines`` has, for
    each Python file, a digest of every definition at its top (see ``trace.outline``)."""

    facts: dict[str, str | None] = field(default_factory=dict)
    unstable: tuple[str, ...] = ()
    outlines: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    """A file when it was opened: ``digest`` if its times alone could not tell a change."""

    size: int
    mtime: int
    ctime: int
    inode: int
    digest: str | None = None
    doubtful: bool = False

    @classmethod
    def of(cls, path: str) -> _Row | None:
        """None for what is no file: a folder, a pipe, a device."""
        try:
            s = posix.stat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(s.st_mode):
            return None
        return cls(s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)

    @classmethod
    def at_opening(cls, path: str) -> _Row | None:
        row = cls.of(path)
        if row is None or not row.written_after(time.time_ns()):
            return row
        small = row.size < _SMALL
        return cls(row.size, row.mtime, row.ctime, row.inode, file_digest(path) if small else None, not small)

    def written_after(self, moment: int) -> bool:
        """Was it written since this moment (ns), or so shortly before that a clock could not tell?

        By its change time, which cannot be set. One in the future is from before a clock was set
        back: another write would show.
        """
        coarse = not (self.mtime % 1_000_000_000 or self.ctime % 1_000_000_000)
        tick = _COARSE_TICK if coarse else _TICK
        return moment - tick <= self.ctime <= time.time_ns() + tick

    def holds(self, now: _Row | None, digest: str | None) -> bool:
        """Is what was read then what is there now, with this digest?"""
        if self.digest is not None:
            return self.digest == digest
        times = (self.size, self.mtime, self.ctime, self.inode)
        return not self.doubtful and now is not None and times == (now.size, now.mtime, now.ctime, now.inode)


class Trace:
    """Watches this process, and the forks it makes, from the moment it is made."""

    def __init__(self, base: Path, ignored: Iterable[Path] = ()) -> None:
        self.base = base
        self._started = time.time_ns()
        self._ignored = tuple(os.path.realpath(p) for p in ignored)
        self._places = Places(base, ignored)
        self._callers = Callers(self._places)
        self._imports = Imports(self._places)
        self._environment = dict(os.environ)
        self._read: dict[str, _Row] = {}
        self._missed: set[str] = set()
        self._present: dict[str, str] = {}
        self._listed: dict[str, str | None] = {}
        self._asked: dict[str, str | None] = {}
        self._made: set[str] = set()  # by the run: what it writes first and then reads is its own
        watching.start(self)

    def found(self, declared: Iterable[Path] = ()) -> Found:
        """Every fact so far."""
        with watching.unseen():
            return self._found([p for d in declared if (p := self._places.absolute(d))])

    # ---- noting: called by ``watching`` ----

    def opened(self, path: object, access: watching.Access, frame: FrameType | None) -> None:
        known = self._mine(path)
        if known is None or known in self._read:
            return
        if not os.path.lexists(known):
            if access.creates:
                self._made.add(known)
            elif self._is_for_user(known, frame):
                self._missed.add(known)
        elif access.empties:
            self._made.add(known)
        elif access.reads:
            row = _Row.at_opening(known)
            if row is not None and self._callers.asks(frame)[0] != "cataloguing":
                self._read[known] = row

    def listed(self, path: object, frame: FrameType | None) -> None:
        known = self._mine(path)
        if known is None or known in self._listed:
            return
        if self._is_for_user(known, frame):
            now = listing(known, self._written_into(known))
            if now is not None:
                self._listed[known] = now
            elif not os.path.lexists(known):
                self._missed.add(known)

    def probed(self, path: object, frame: FrameType | None) -> None:
        if not self._callers.probes(frame):
            return
        known = self._mine(path)
        if known is None or self._places.holds(known):
            return
        there = presence(known)
        if there is None:
            self._missed.add(known)
        else:
            self._present.setdefault(known, there)

    def asked(self, name: str, frame: FrameType | None) -> None:
        if name in ENVIRONMENT or name in self._asked or not self._callers.reads_environment(frame):
            return
        before = self._environment.get(name)
        if os.environ.get(name) == before:  # else the run has set it itself
            self._asked[name] = before

    def imported(self, name: str, frame: FrameType | None) -> None:
        kind, importer = self._callers.imports(frame)
        by_recipe = kind == "own" and importer.endswith(".steps.model")
        self._imports.note(name, "user" if by_recipe else kind, importer)

    def made(self, path: object) -> None:
        known = self._places.absolute(path)
        if known is not None and not os.path.lexists(known):
            self._made.add(known)

    def moved(self, source: object, target: object) -> None:
        old, new = self._places.absolute(source), self._places.absolute(target)
        if old is not None and new is not None and self._is_made(old):
            self._made.add(new)

    def reads_source(self, path: str) -> bool:
        known = self._places.absolute(path)
        return known is not None and self._places.counts(known)

    def _mine(self, path: object) -> str | None:
        """The path if it is first-party and was there before the run, or could have been."""
        known = self._places.absolute(path)
        if known is None or not self._places.counts(known) or self._is_made(known):
            return None
        return _source_of(known)

    def _is_for_user(self, path: str, frame: FrameType | None) -> bool:
        """Whether a file is looked for on the user's behalf, or is one of theirs by its place."""
        kind, whose = self._callers.asks(frame)
        near = whose != "importing" and self._places.near(path)
        return kind == "user" or (kind == "library" and (whose == "user" or near))

    def _is_made(self, path: str) -> bool:
        while path not in self._made:
            parent = os.path.dirname(path)
            if parent == path:
                return False
            path = parent
        return True

    def _written_into(self, folder: str) -> list[str]:
        """What the build itself writes into a folder: its cache and its output."""
        real = os.path.realpath(folder)
        return sorted(os.path.basename(p) for p in self._ignored if os.path.dirname(p) == real)

    # ---- valuing ----

    def _found(self, declared: Iterable[str]) -> Found:
        facts: dict[str, str | None] = {}
        unstable: list[str] = []
        outlines: dict[str, dict[str, str]] = {}
        named: set[str] = set()
        for path in sorted({*self._read, *declared, *self._modules()}):
            if (row := _Row.of(path)) is None and path not in self._read:
                continue
            name = self._places.name(path)
            digest = file_digest(path)
            if not self._was_stable(path, row, digest):
                unstable.append(name)
            if digest is None and self._came_and_went(path):
                continue
            facts[f"file {name}"] = digest
            if path.endswith(".py") and (tree := parsed(_bytes(path))) is not None:
                named |= imported(tree)
                if (parts := outlined(tree)) is not None:
                    outlines[name] = parts
        for path in sorted(self._missed):
            # One that the run has made since and left there is a fact, too: the next run finds it.
            if not self._is_made(path) or os.path.lexists(path):
                facts[f"absent {self._places.name(path)}"] = None
        for path, there in sorted(self._present.items()):
            if f"file {self._places.name(path)}" not in facts and path not in self._missed:
                facts[f"present {self._places.name(path)}"] = there
        for path, names in sorted(self._listed.items()):
            facts[f"listing {self._places.name(path)}"] = names
        for variable_name, value in sorted(self._asked.items()):
            facts[f"env {variable_name}"] = variable(variable_name, value)
        facts.update(self._imports.facts(named))
        for fact in [f for f in facts if not is_text(f)]:  # nowhere to note it: so not cached
            del facts[fact]
            unstable.append(fact.partition(" ")[2])
        outlines = {name: parts for name, parts in outlines.items() if is_text(name)}
        unstable = [name.encode(errors="backslashreplace").decode() for name in unstable]
        return Found(facts, tuple(unstable), outlines)

    def _was_stable(self, path: str, before: _Row | None, digest: str | None) -> bool:
        now = _Row.of(path)
        if (opened := self._read.get(path)) is not None:
            return opened.holds(now, digest) or (digest is None and self._came_and_went(path))
        # No hook saw it: it may have been read at any time since the beginning.
        return before is not None and before.holds(now, digest) and not before.written_after(self._started)

    def _came_and_went(self, path: str) -> bool:
        """A file that something the run started has made, and that is gone by now."""
        opened = self._read.get(path)
        return opened is not None and opened.written_after(self._started)

    def _modules(self) -> Iterator[str]:
        """Files of modules that no hook saw: those of importers that read natively."""
        for file in self._imports.files():
            known = self._places.absolute(file)
            if known is not None and self._places.counts(known) and not self._is_made(known):
                yield _source_of(known)


def _source_of(path: str) -> str:
    """The source that a compiled file in ``__pycache__`` stands for, if it is there."""
    if path.endswith(".pyc") and f"{os.sep}__pycache__{os.sep}" in path:
        from importlib.util import source_from_cache

        try:
            source = source_from_cache(path)
        except ValueError:
            return path
        return source if os.path.exists(source) else path
    return path


def _bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
