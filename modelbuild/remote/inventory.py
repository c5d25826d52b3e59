"""What lies in a remote, by its own listing: for its owners. A reader lists nothing but one key's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from modelbuild.remote import layout
from modelbuild.remote.bucket import Bucket, RemoteFile
from modelbuild.remote.configured import Remote
from modelbuild.remote.layout import EntryName


@dataclass(frozen=True)
class Inventory:
    """Everything below ``v1/``: entries, blobs by their SHA-256, and what is called like neither."""

    entries: tuple[tuple[EntryName, RemoteFile], ...]
    blobs: Mapping[str, RemoteFile]
    strange: tuple[RemoteFile, ...]


def taken(bucket: Bucket) -> Inventory:
    """List it all.

    Raises:
        Off: it cannot be listed.
    """
    entries, blobs, strange = [], {}, []
    for held in bucket.held("v1/"):
        if (name := layout.entry_name(held.name)) is not None:
            entries.append((name, held))
        elif (sha256 := layout.blob_digest(held.name)) is not None:
            blobs[sha256] = held
        else:
            strange.append(held)
    return Inventory(tuple(entries), blobs, tuple(strange))


@dataclass(frozen=True)
class RemoteStats:
    """How much a remote holds, in bytes, and how many entries each key (by its id) has signed."""

    entries: int
    entry_bytes: int
    files: int
    file_bytes: int
    strange: int
    signers: Mapping[str, int]


def stats(remote: Remote) -> RemoteStats:
    """Count what is there; reads nothing of it.

    Raises:
        Off: it cannot be listed.
    """
    found = taken(Bucket(remote, writes=False))
    signers = Counter(name.by for name, _ in found.entries)
    return RemoteStats(
        len(found.entries), sum(held.bytes for _, held in found.entries),
        len(found.blobs), sum(held.bytes for held in found.blobs.values()),
        len(found.strange), dict(sorted(signers.items())),
    )  # fmt: skip
