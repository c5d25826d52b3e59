"""Read a remote again, all of it: is each entry signed by who is trusted, each file what it is called?"""

from __future__ import annotations

import tempfile
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from modelbuild.base.keys import digest
from modelbuild.remote import inventory, layout
from modelbuild.remote.bucket import Bucket, Damaged, RemoteFile
from modelbuild.remote.configured import Remote
from modelbuild.remote.inventory import Inventory
from modelbuild.remote.layout import EntryName
from modelbuild.remote.side_by_side import each
from modelbuild.remote.statements import MOST_BYTES, Untrusted, claimed, entry_step, read
from modelbuild.store import Entry, File


@dataclass(frozen=True)
class RemoteDamage:
    """Something in a remote that no reader takes: its name there, and why."""

    name: str
    problem: str


@dataclass(frozen=True)
class RemoteChecked:
    """How much was read, in bytes of files, and what of it was damaged."""

    entries: int
    files: int
    bytes: int
    damaged: tuple[RemoteDamage, ...]


def check(remote: Remote) -> RemoteChecked:
    """Read every entry and every file. Nothing is deleted.

    Raises:
        Off: it cannot be read.
    """
    bucket = Bucket(remote, writes=False)
    found = inventory.taken(bucket)
    strange = "it has no name that an entry or a file has"
    damaged = [RemoteDamage(held.name, strange) for held in found.strange]
    with tempfile.TemporaryDirectory() as folder:
        wrong = each(lambda row: _file(bucket, Path(folder), *row), found.blobs.items())
    bad = {sha256: why for sha256, why in zip(found.blobs, wrong, strict=True) if why}
    damaged += [RemoteDamage(layout.blob(sha256), why) for sha256, why in bad.items()]
    whole = found.blobs.keys() - bad.keys()
    problems = each(lambda row: _entry(bucket, remote, found, whole, *row), found.entries)
    damaged += [RemoteDamage(str(n), why) for (n, _), why in zip(found.entries, problems, strict=True) if why]
    size = sum(held.bytes for held in found.blobs.values())
    return RemoteChecked(len(found.entries), len(found.blobs), size, tuple(damaged))


def _entry(
    bucket: Bucket, remote: Remote, found: Inventory, whole: Set[str], name: EntryName, held: RemoteFile
) -> str:
    """What is wrong with an entry; nothing of one that is whole, as all its files are."""
    try:
        envelope = bucket.content(held.name, MOST_BYTES)
        if envelope is None:
            return ""  # deleted meanwhile
        entry = claimed(envelope)
        lookup_key = digest(entry.facts)
        if layout.salted(lookup_key, remote.salt) != name.salted:
            return "it lies under another key, or another salt, than its own"
        read(envelope, lookup_key, str(entry_step(entry.facts)), remote)
    except (Untrusted, Damaged) as unusable:
        return str(unusable)
    if entry.key.partition(":")[2] != name.key:
        return "it is not called as its full key is"
    return "" if name.bare else _missing(found, whole, entry)


def _missing(found: Inventory, whole: Set[str], entry: Entry) -> str:
    for name, file in entry.tree.files.items():
        if file.sha256 not in whole:
            return f"its file {name} is {'damaged' if file.sha256 in found.blobs else 'not there'}"
        if (size := found.blobs[file.sha256].bytes) != file.bytes:
            return f"its file {name} has {size} bytes, not {file.bytes}"
    return ""


def _file(bucket: Bucket, folder: Path, sha256: str, held: RemoteFile) -> str:
    target = folder / sha256
    try:
        bucket.fetch(held.name, File(sha256, held.bytes), target)
    except Damaged as damage:
        return str(damage)
    finally:
        target.unlink(missing_ok=True)
    return ""
