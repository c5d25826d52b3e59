"""What a run read by itself, as facts (see ``trace.facts``): noted while it runs, valued at its end."""

from __future__ import annotations

import os
import posix
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal

from modelbuild.base import stat_rows
from modelbuild.machine import untimely
from modelbuild.machine.environment import ENVIRONMENT
from modelbuild.trace import kinds, watching
from modelbuild.trace.facts import (
    by_time,
    executable,
    file_digest,
    is_text,
    journal,
    listing,
    presence,
    program,
    size,
    target,
    variable,
)
from modelbuild.trace.frames import Callers
from modelbuild.trace.imports import Imports
from modelbuild.trace.notes import Notes
from modelbuild.trace.outline import imported, outlined, parsed, words
from modelbuild.trace.places import Places

_SMALL = 1 << 20  # bytes; hashed in a millisecond


@dataclass(frozen=True)
class Noted:
    """What a run read. ``unstable`` are the files that changed while it ran; ``outlines`` has, for
    each Python file, a digest of every definition at its top (see ``trace.outline``)."""

    facts: dict[str, str | None] = field(default_factory=dict)
    unstable: tuple[str, ...] = ()
    outlines: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Opened:
    """A file when it was opened: ``digest`` if its times alone could not tell a change."""

    size: int
    mtime: int
    ctime: int
    inode: int
    digest: str | None = None
    doubtful: bool = False

    @classmethod
    def of(cls, path: str) -> _Opened | None:
        """None for what is no file: a folder, a pipe, a device."""
        try:
            s = posix.stat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(s.st_mode):
            return None
        return cls(s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino)

    @classmethod
    def at_opening(cls, path: str) -> _Opened | None:
        row = cls.of(path)
        if row is None:
            return None
        small = row.size < _SMALL
        if not row.written_after(time.time_ns()) and not (small and untimely.has_another_clock(path)):
            return row
        return cls(row.size, row.mtime, row.ctime, row.inode, file_digest(path) if small else None, not small)

    def written_after(self, moment: int) -> bool:
        """Was it written since this moment (ns), or so shortly before that a clock could not tell?

        By its change time, which cannot be set. One in the future is from before a clock was set
        back: another write would show.
        """
        tick = stat_rows.tick(self.ctime)
        return moment - tick <= self.ctime <= time.time_ns() + tick

    def holds(self, now: _Opened | None, digest: str | None) -> bool:
        """Is what was read then what is there now, with this digest?"""
        if self.digest is not None:
            return self.digest == digest
        times = (self.size, self.mtime, self.ctime, self.inode)
        return not self.doubtful and now is not None and times == (now.size, now.mtime, now.ctime, now.inode)


@dataclass
class _Files:
    """The files that were read, on the way to ``Noted``; ``named`` are the packages they import."""

    facts: dict[str, str | None] = field(default_factory=dict)
    unstable: list[str] = field(default_factory=list)
    outlines: dict[str, dict[str, str]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)


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
        self._search_path = frozenset(sys.path)
        self._notes = Notes()
        self._mapped: set[str] = set()
        watching.start(self)

    def take_in_forks(self) -> None:
        """What forks of this process have read up to now was read for it, and for its later forks."""
        with watching.unseen():
            self._notes.take_in_forks()

    def found(self, declared: Iterable[Path] = ()) -> Noted:
        """Every fact so far."""
        with watching.unseen():
            self._notes.take_in_forks()
            return self._found([p for d in declared if (p := self._places.absolute(d))])

    # ---- noting: called by ``watching`` ----

    def opened(self, path: object, access: watching.Access, frame: FrameType | None) -> None:
        known = self._mine(path)
        if known is None or known in self._notes.read:
            return
        if not os.path.lexists(known):
            if access.creates:
                self._notes.add("made", known, True)
            elif self._is_for_user(known, frame):
                self._notes.add("missed", known)
        elif access.empties:
            self._notes.add("made", known, False)
        elif access.reads:
            row = _Opened.at_opening(known)
            if row is not None and self._callers.asks(frame)[0] != "cataloguing":
                self._notes.add("read", known, row)

    def listed(self, path: object, frame: FrameType | None) -> None:
        known = self._mine(path)
        if known is None or known in self._notes.listed:
            return
        if self._is_for_user(known, frame):
            now = listing(known, {*self._written_into(known), *self._notes.made_in(known)})
            if now is not None:
                self._notes.add("listed", known, now.partition("/")[0])
            elif not os.path.lexists(known):
                self._notes.add("missed", known)

    def probed(self, path: object, frame: FrameType | None, asks: watching.Asks) -> None:
        there = self._places.absolute(path)
        if there is None or not self._places.counts(there) or not self._callers.probes(frame):
            return
        known = self._mine(path)
        if known is None or self._places.holds(known):
            return
        if asks == "link" or self._callers.looks_for_links(frame):
            self._notes.add("links", known, target(known))
            return
        kind = presence(known)
        if kind is None:
            self._notes.add("missed", known)
            return
        self._notes.add("present", known, kind)
        measured = self._callers.measures(frame) if asks == "stat" else ()
        if "times" in measured:
            self._notes.add("timed", known)
        if "size" in measured and kind == "file":
            self._notes.add("sizes", known, size(known))
        if "mode" in measured and kind == "file":
            self._notes.add("programs", known, executable(known))

    def ran(self, path: object, frame: FrameType | None) -> None:
        """Whether a file can be run is asked."""
        if self._callers.probes(frame) and (known := self._mine(path)) is not None:
            self._notes.add("programs", known, executable(known))

    def which(self, name: str, frame: FrameType | None) -> None:
        """A program is looked for on PATH."""
        if self._callers.looks_up(frame):
            self._notes.add("which", name, program(name))

    def database(self, path: str, frame: FrameType | None) -> None:
        """An SQLite database is opened: what was written last may still be in the file beside it."""
        self.opened(path, watching.READ, frame)
        if (known := self._mine(path)) is not None:
            self._notes.add("journals", known, journal(known))

    def enters(self, frame: FrameType | None) -> bool:
        """Is it the user's own code that goes over a folder's entries?"""
        return self._callers.is_user(frame)

    def followed(self, path: object, frame: FrameType | None) -> None:
        """A link is looked into, as by realpath(): what is read then is named by where it leads."""
        known = self._mine(path)
        if known is None or self._places.holds(known) or not self._is_for_user(known, frame):
            return
        if (where := target(known)) is not None:
            self._notes.add("links", known, where)

    def stood(self, frame: FrameType | None) -> None:
        """The current folder is asked for."""
        if self._callers.asks(frame)[0] == "user":
            self._notes.add("marks", "stood")

    def asked(self, name: str, frame: FrameType | None) -> None:
        if name not in self._notes.asked and (whose := self._callers.reads_environment(frame)) is not None:
            self._ask(name, "asked" if whose == "user" else "torch")

    def swept(self, frame: FrameType | None) -> None:
        """All variables are gone over."""
        if self._callers.reads_environment(frame):
            self._notes.add("marks", "swept")

    def _ask(self, name: str, noted: Literal["asked", "torch"] = "asked") -> None:
        before = self._environment.get(name)
        if name not in ENVIRONMENT and os.environ.get(name) == before:  # else the run has set it itself
            self._notes.add(noted, name, before)

    def imported(self, name: str, frame: FrameType | None) -> None:
        kind, importer = self._callers.imports(frame)
        self._imports.note(name, "user" if kind == "recipe" else kind, importer)

    def catalogued(self, kind: str, name: str, frame: FrameType | None) -> None:
        """Something is asked of ``importlib.metadata``."""
        if isinstance(name, str) and name and self._callers.looks_up(frame):
            self._notes.add("catalogued", kinds.KINDS[kind].fact(name))

    def made(self, path: object) -> None:
        known = self._places.absolute(path)
        if known is not None and not os.path.lexists(known):
            self._notes.add("made", known, True)

    def moved(self, source: object, target: object) -> None:
        old, new = self._places.absolute(source), self._places.absolute(target)
        if old is not None and new is not None and self._is_made(old):
            self._notes.add("made", new, not os.path.lexists(new))

    def reads_source(self, path: str) -> bool:
        known = self._places.absolute(path)
        return known is not None and self._places.counts(known)

    def forked(self) -> None:
        self._notes.fork()

    def _mine(self, path: object) -> str | None:
        """The path if it is first-party and was there before the run, or could have been."""
        known = self._places.absolute(path)
        if known is None or not self._places.counts(known) or self._is_made(known):
            return None
        if not os.path.isabs(path):  # type: ignore[arg-type]
            self._notes.add("marks", "stood")
        return _source_of(known)

    def _is_for_user(self, path: str, frame: FrameType | None) -> bool:
        """Whether a file is looked for on the user's behalf, or is one of theirs by its place."""
        kind, whose = self._callers.asks(frame)
        near = whose != "importing" and self._places.near(path)
        return kind == "user" or (kind == "library" and (whose == "user" or near))

    def _is_made(self, path: str) -> bool:
        while path not in self._notes.made:
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

    def _found(self, declared: Iterable[str]) -> Noted:
        files = self._files(declared)
        facts = {**files.facts, **self._looks(files.facts)}
        if "stood" in self._notes.marks or self._searches_relatively():
            facts[kinds.CWD.fact()] = os.path.relpath(self._places.cwd, self._places.base)
        for name, value in sorted(self._notes.asked.items()):
            facts[kinds.ENV.fact(name)] = variable(name, value)
        for name, value in sorted(self._notes.torch.items()):
            if name not in self._notes.asked:
                facts[kinds.TORCH_ENV.fact(name)] = variable(name, value)
        facts.update(self._imports.facts(files.named))
        facts.update(self._imports.catalogued(self._notes.catalogued))
        unstable = list(files.unstable)
        for fact in [f for f in facts if not is_text(f)]:  # nowhere to note it: so not cached
            del facts[fact]
            unstable.append(kinds.parted(fact)[1])
        outlines = {name: parts for name, parts in files.outlines.items() if is_text(name)}
        unstable = [name.encode(errors="backslashreplace").decode() for name in unstable]
        return Noted(facts, tuple(unstable), outlines)

    def _files(self, declared: Iterable[str]) -> _Files:
        """Every file that was read. What the sources among them import leads to more."""
        found = _Files()
        self._mapped = untimely.mapped({*self._notes.read, *declared})
        waiting = {*self._notes.read, *declared, *self._modules(self._imports.files())}
        seen: set[str] = set()
        while waiting:
            for path in sorted(waiting):
                self._value(path, found)
            seen |= waiting
            waiting = {*self._modules(self._imports.early_files(found.named))} - seen
        return found

    def _value(self, path: str, found: _Files) -> None:
        if (row := _Opened.of(path)) is None and path not in self._notes.read:
            return
        name = self._places.name(path)
        digest = file_digest(path)
        if not self._was_stable(path, row, digest):
            found.unstable.append(name)
        if digest is None and self._came_and_went(path):
            return
        found.facts[kinds.FILE.fact(name)] = digest
        if path.endswith(".py") and (tree := parsed(_bytes(path))) is not None:
            found.named |= imported(tree)
            if "swept" in self._notes.marks:  # which of the variables it then uses nobody sees
                for word in words(tree):
                    self._ask(word)
            if (parts := outlined(tree)) is not None:
                found.outlines[name] = parts

    def _looks(self, files: Mapping[str, str | None]) -> dict[str, str | None]:
        """What was looked for, listed and followed."""
        facts: dict[str, str | None] = {}
        notes, called = self._notes, self._places.name
        for path in sorted(notes.missed):
            if self._is_made(path) and (left := file_digest(path)) is not None:
                facts[kinds.MADE.fact(called(path))] = left
            elif not self._is_made(path) or os.path.lexists(path):  # a folder: the next run finds it
                facts[kinds.ABSENT.fact(called(path))] = None
        for path, there in sorted(notes.present.items()):
            if (
                kinds.FILE.fact(called(path)) not in files
                and path not in notes.missed
                and path not in notes.sizes
            ):
                facts[kinds.PRESENT.fact(called(path))] = there
        for path, names in sorted(notes.listed.items()):
            made = [n for n in notes.made_in(path) if os.path.lexists(os.path.join(path, n))]
            facts[kinds.LISTING.fact(called(path))] = "/".join(
                [names, *sorted({*self._written_into(path), *made})]
            )
        for path, where in sorted(notes.links.items()):
            facts[kinds.LINK.fact(called(path))] = where
        asked = (
            (kinds.SIZE, notes.sizes),
            (kinds.EXECUTABLE, notes.programs),
            (kinds.JOURNAL, notes.journals),
        )
        for kind, values in asked:
            facts.update({kind.fact(called(path)): v for path, v in sorted(values.items())})
        facts.update({kinds.WHICH.fact(name): where for name, where in sorted(notes.which.items())})
        if len(notes.timed) > 1:  # the times themselves are no facts: a checkout sets them
            facts[kinds.ORDER.fact("of-times")] = by_time(map(called, notes.timed), self._places.base)
        return facts

    def _searches_relatively(self) -> bool:
        """Has the run put a relative folder on the search path?"""
        return any(p and not os.path.isabs(p) for p in set(sys.path) - self._search_path)

    def _was_stable(self, path: str, before: _Opened | None, digest: str | None) -> bool:
        now = _Opened.of(path)
        if path in self._mapped:  # its row does not tell: only a digest from when it was opened does
            opened = self._notes.read.get(path)
            return opened is not None and opened.digest is not None and opened.digest == digest
        if (opened := self._notes.read.get(path)) is not None:
            return opened.holds(now, digest) or (digest is None and self._came_and_went(path))
        # No hook saw it: it may have been read at any time since the beginning.
        return before is not None and before.holds(now, digest) and not before.written_after(self._started)

    def _came_and_went(self, path: str) -> bool:
        """A file that something the run started has made, and that is gone by now."""
        opened = self._notes.read.get(path)
        return opened is not None and opened.written_after(self._started)

    def _modules(self, files: Iterable[str]) -> Iterator[str]:
        """The first-party ones of these modules: no hook sees those of importers that read natively."""
        for file in files:
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
