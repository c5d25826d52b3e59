"""What a build takes from a remote: entries that somebody trusted has signed, and their files by hash."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from modelbuild.base.errors import Diagnostic
from modelbuild.remote import layout
from modelbuild.remote.bucket import Bucket, Damaged, Off, Patience
from modelbuild.remote.configured import Remote
from modelbuild.remote.layout import EntryName
from modelbuild.remote.side_by_side import each
from modelbuild.remote.signing import key_id
from modelbuild.remote.statements import MOST_BYTES, Signed, Untrusted, read
from modelbuild.store import File, Store, Tree

_MOST_ENTRIES = 100  # of one key: more is no cache, or somebody's flood
_MOST_REASONS = 5
_SHOWN = 110  # characters of a name: of ours, the folder and the beginning of the key


T = TypeVar("T")


class Reader:
    """The remote of one command. What it is or does raises nothing: that is a miss, and ``said`` tells it."""

    def __init__(self, remote: Remote, store: Store, limits: Patience | None = None) -> None:
        self._remote = remote
        self._store = store
        self._bucket = Bucket(remote, writes=False, limits=limits)
        self._known: dict[tuple[str, str], list[Signed]] = {}
        self._untrusted: dict[str, str] = {}
        self._damaged: dict[str, str] = {}
        self._missing: set[str] = set()  # objects that were not to be had
        self._bare: set[str] = set()  # objects whose files were never sent
        self._telling = threading.Lock()
        self.bytes = 0
        """That came as files and were kept."""
        self.seconds = 0.0
        """That were waited for the remote."""

    @property
    def off(self) -> str | None:
        """Why the remote is asked nothing more; None while it is."""
        return self._bucket.off

    @property
    def url(self) -> str:
        return self._remote.url

    def entries(self, lookup_key: str, step: str) -> list[Signed]:
        """The results of an action of this step that lie there, newest first; none if it is off."""
        asked = (lookup_key, step)
        if asked not in self._known:
            self._known[asked] = self._timed(lambda: self._found(lookup_key, step), [])
        return self._known[asked]

    def fetch(self, tree: Tree) -> bool:
        """Put an object into the store, pinned; False if it is not to be had, and then not asked for again.

        Raises:
            OSError: the store cannot be written.
        """
        if tree.digest in self._missing or (tree.digest in self._bare and tree.files):
            return False
        came = self._timed(lambda: self._fetched(tree), False)
        if not came:
            self._missing.add(tree.digest)
        return came

    def said(self) -> tuple[Diagnostic, ...]:
        """What a user should know of it: one diagnostic for each kind of thing, at most."""
        every = (self._about_trust(), self._about_entries(), self._about_files(), self._about_off())
        return tuple(diagnostic for diagnostic in every if diagnostic is not None)

    # ---- entries ----

    def _found(self, lookup_key: str, step: str) -> list[Signed]:
        salted = layout.salted(lookup_key, self._remote.salt)
        folder = layout.folder(salted)
        try:
            names = self._bucket.names(folder, _MOST_ENTRIES + 1)
        except Damaged as damage:
            self._distrust(folder, str(damage))
            return []
        if len(names) > _MOST_ENTRIES:
            self._distrust(
                folder, f"there are more than {_MOST_ENTRIES} entries; the others were not looked at"
            )
        named = (self._wanted(text, salted, step) for text in names[:_MOST_ENTRIES])
        wanted = [name for name in named if name is not None]
        every = each(lambda name: self._read(name, lookup_key, step), wanted)
        found = [(name, signed) for name, signed in zip(wanted, every, strict=True) if signed is not None]
        whole = {signed.entry.tree.digest for name, signed in found if not name.bare}
        self._bare |= {signed.entry.tree.digest for _, signed in found} - whole
        self._bare -= whole
        return sorted((signed for _, signed in found), key=lambda signed: signed.when, reverse=True)

    def _wanted(self, text: str, salted: str, step: str) -> EntryName | None:
        """The name of an entry, if it says that somebody signed it whom we would believe."""
        name = layout.entry_name(text)
        if name is None or name.salted != salted:
            self._distrust(text, "it is not called as an entry is")
            return None
        if not self._remote.trust:
            return name
        trusted = next((t for t in self._remote.trust if key_id(t.key) == name.by), None)
        if trusted is None:
            self._distrust(text, f"it is signed by a key that is not in `trust`: {name.by}")
        elif trusted.steps is not None and step not in trusted.steps:
            self._distrust(text, f"its key may not sign for the step {step}")
        else:
            return name
        return None

    def _read(self, name: EntryName, lookup_key: str, step: str) -> Signed | None:
        try:
            envelope = self._bucket.content(str(name), MOST_BYTES)
            if envelope is None:
                return None  # collected since it was listed
            signed = read(envelope, lookup_key, step, self._remote)
            if signed.entry.key.partition(":")[2] != name.key:
                raise Untrusted("it is called as another entry")
        except (Damaged, Untrusted) as error:
            self._distrust(str(name), str(error))
            return None
        return signed

    # ---- files ----

    def _fetched(self, tree: Tree) -> bool:
        folder = self._store.workspace()
        try:
            if not all(each(lambda row: self._file(folder, *row), tree.files.items())):
                return False
            if self._store.put(folder) != tree:  # pragma: no cover - each file was hashed as it came
                return False
        finally:
            self._store.discard(folder)
        self.bytes += sum(file.bytes for file in tree.files.values())
        return True

    def _file(self, folder: Path, name: str, file: File) -> bool:
        blob = layout.blob(file.sha256)
        try:
            self._bucket.fetch(blob, file, folder / name)
        except Damaged as damage:
            with self._telling:
                self._damaged.setdefault(blob, str(damage))
            return False
        return True

    # ---- what is told ----

    def _timed(self, do: Callable[[], T], instead: T) -> T:
        began = time.monotonic()
        try:
            return do()
        except Off:
            return instead
        except ModuleNotFoundError as error:
            self._bucket.turn_off(f"{error.name} is not installed: pip install 'modelbuild[remote]'")
            return instead
        finally:
            self.seconds += time.monotonic() - began

    def _distrust(self, name: str, why: str) -> None:
        with self._telling:
            self._untrusted.setdefault(name, why)

    def _about_trust(self) -> Diagnostic | None:
        if self._remote.trust or not self._known:
            return None
        return Diagnostic(
            "remote-untrusted",
            f"{self.url} has no `trust`: whoever can write there is believed",
            "`modelbuild cache keygen` makes a pair of keys; the public one belongs into `trust`",
            level="info",
        )

    def _about_entries(self) -> Diagnostic | None:
        if not self._untrusted:
            return None
        said = f"{self.url}: not used: {_reasons(self._untrusted)}"
        hint = "it is as if they were not there; `modelbuild cache verify --remote` names all of them"
        return Diagnostic("remote-untrusted", said, hint, level="warning")

    def _about_files(self) -> Diagnostic | None:
        if not self._damaged:
            return None
        said = f"{self.url}: not used: {_reasons(self._damaged)}"
        hint = "what they belong to is made here; `modelbuild cache verify --remote` names all of them"
        return Diagnostic("remote-damaged", said, hint, level="warning")

    def _about_off(self) -> Diagnostic | None:
        if self.off is None:
            return None
        said = f"{self.url} is off for the rest of this command: {self.off}"
        return Diagnostic("remote-failed", said, "what it may have is made here", level="warning")


def _reasons(unused: Mapping[str, str]) -> str:
    """Each reason with a name that it is about, and how many more there are."""
    by_reason: dict[str, list[str]] = {}
    for name, why in sorted(unused.items()):
        by_reason.setdefault(why, []).append(name)
    said = []
    for why, names in list(by_reason.items())[:_MOST_REASONS]:
        more = f", and {len(names) - 1} more" if len(names) > 1 else ""
        said.append(f"{names[0][:_SHOWN]}{more}: {why}")
    if len(by_reason) > _MOST_REASONS:
        said.append(f"and {len(by_reason) - _MOST_REASONS} other reasons")
    return "; ".join(said)
