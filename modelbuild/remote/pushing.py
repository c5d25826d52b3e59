"""Stored results, signed and sent up: the files of each first, its entry last, and nothing written over.

A reader that finds an entry finds its files, then: they were there before it. What is there already is
asked for once, by listing the folder of its key.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelbuild.remote import layout
from modelbuild.remote.bucket import Bucket, Damaged, Off
from modelbuild.remote.configured import Remote
from modelbuild.remote.layout import EntryName
from modelbuild.remote.side_by_side import each
from modelbuild.remote.signing import Signer
from modelbuild.remote.statements import stated
from modelbuild.store import Entry, Store

_MOST_NAMES = 1000  # under one key: more is no cache


@dataclass(frozen=True)
class StoredResult:
    """What the ledger has under a key: the result of a step, or what one measured.

    ``published`` says that it is an artifact, or the proof of one, and not on the way to one.
    """

    lookup_key: str
    step: str
    entry: Entry
    published: bool


@dataclass(frozen=True)
class Pushed:
    """What became of some results; sizes are bytes.

    ``sent`` entries went up with ``files`` of ``bytes``, of which ``between_bytes`` are of results that
    nobody publishes; ``bare_bytes`` of these were left out. ``there`` were there already, ``withheld`` are
    of steps that the key may not sign, and ``damaged`` are the digests of objects here that are not what
    they are called.
    """

    sent: int = 0
    there: int = 0
    withheld: int = 0
    files: int = 0
    bytes: int = 0
    between_bytes: int = 0
    bare_bytes: int = 0
    damaged: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "damaged": list(self.damaged)}


@dataclass(frozen=True)
class _Blob:
    """A file that goes up; ``published`` if it is of a result that is."""

    name: str
    place: Path
    bytes: int
    published: bool


class Pusher:
    """Of one command, with the key that it signs with."""

    def __init__(self, store: Store, remote: Remote, signer: Signer, published_only: bool = False) -> None:
        """With ``published_only`` results that nobody publishes go up without their files: what comes of
        them can be looked up, and who needs the files makes them."""
        self._store = store
        self._remote = remote
        self._signer = signer
        self._published_only = published_only
        self._bucket = Bucket(remote, writes=True)

    def push(self, results: Sequence[StoredResult]) -> Pushed:
        """Send up those that are not there.

        Raises:
            Off: the remote cannot be reached, or does not let us write.
        """
        ours = [r for r in results if self._may_sign(r.step)]
        absent = [r for r, there in zip(ours, each(self._is_there, ours), strict=True) if not there]
        bare = [r for r in absent if self._is_bare(r)]
        trees = {r.entry.tree.digest: r.entry.tree for r in absent if not self._is_bare(r)}
        whole = dict(zip(trees, each(self._store.intact, trees.values(), at_once=2), strict=True))
        full = [r for r in absent if not self._is_bare(r) and whole[r.entry.tree.digest]]
        blobs = self._blobs(full)
        is_new = each(self._sent, blobs)
        each(self._write, [*full, *bare])
        # A collection may have taken a file that was there before its entry was: see `collecting`.
        each(self._sent, [b for b, new in zip(blobs, is_new, strict=True) if not new])
        sent = [b for b, new in zip(blobs, is_new, strict=True) if new]
        return Pushed(
            sent=len(full) + len(bare),
            there=len(ours) - len(absent),
            withheld=len(results) - len(ours),
            files=len(sent),
            bytes=sum(b.bytes for b in sent),
            between_bytes=sum(b.bytes for b in sent if not b.published),
            bare_bytes=sum(f.bytes for r in bare for f in r.entry.tree.files.values()),
            damaged=tuple(sorted(name for name, is_whole in whole.items() if not is_whole)),
        )

    def _may_sign(self, step: str) -> bool:
        """Whether readers take results of this step from our key; without ``trust`` they take any."""
        ours = [trusted for trusted in self._remote.trust if trusted.key == self._signer.raw]
        return not self._remote.trust or any(t.steps is None or step in t.steps for t in ours)

    def _is_bare(self, result: StoredResult) -> bool:
        return self._published_only and not result.published and bool(result.entry.tree.files)

    def _name(self, result: StoredResult, bare: bool) -> EntryName:
        salted = layout.salted(result.lookup_key, self._remote.salt)
        return EntryName(salted, result.entry.key.partition(":")[2], self._signer.keyid, bare)

    def _is_there(self, result: StoredResult) -> bool:
        name = self._name(result, bare=False)
        try:
            names = set(self._bucket.names(layout.folder(name.salted), _MOST_NAMES))
        except Damaged as damage:  # whoever can write there has put something else in its place
            raise Off(self._remote.url, f"{layout.folder(name.salted)}: {damage}") from damage
        return str(name) in names or (self._is_bare(result) and str(self._name(result, bare=True)) in names)

    def _blobs(self, results: Sequence[StoredResult]) -> list[_Blob]:
        """The files of some results, each once."""
        found: dict[str, _Blob] = {}
        for result in sorted(results, key=lambda r: not r.published):
            tree = result.entry.tree
            if (folder := self._store.folder(tree)) is None:
                continue  # of no files
            for name, file in tree.files.items():
                blob = _Blob(layout.blob(file.sha256), folder / name, file.bytes, result.published)
                found.setdefault(blob.name, blob)
        return list(found.values())

    def _sent(self, blob: _Blob) -> bool:
        """Send a file, if it is not there; whether it was sent."""
        return not self._bucket.exists(blob.name) and self._bucket.create(blob.name, blob.place)

    def _write(self, result: StoredResult) -> None:
        envelope = stated(result.lookup_key, result.entry, self._remote.salt, self._signer, time.time())
        self._bucket.create(str(self._name(result, self._is_bare(result))), envelope)
