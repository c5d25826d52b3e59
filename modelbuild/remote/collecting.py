"""Make room in a remote, for its owners: old entries first, then the files that no entry names any more.

An entry never outlives its files. A push that found a file there while it was taken away asks once more when
its entry is written, and sends it again; an entry that was written before the file went is taken back here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelbuild.remote import inventory
from modelbuild.remote.bucket import Bucket, Damaged, RemoteFile
from modelbuild.remote.configured import Remote
from modelbuild.remote.layout import EntryName
from modelbuild.remote.side_by_side import each
from modelbuild.remote.statements import MOST_BYTES, Untrusted, claimed


@dataclass(frozen=True)
class RemoteCollected:
    """What was deleted from a remote, in bytes of entries and files, and the bytes that are left."""

    entries: int
    files: int
    bytes: int
    left: int


def collect(remote: Remote, max_age: float, now: float) -> RemoteCollected:
    """Delete the entries that were sent more than ``max_age`` seconds before ``now`` (since 1970), and each
    file as old as that which no other entry names. Pushes may run meanwhile.

    Raises:
        Off: it cannot be read, or does not let us delete.
    """
    bucket = Bucket(remote, writes=True)
    before = inventory.taken(bucket)

    def old(held: RemoteFile) -> bool:
        return now - held.modified > max_age

    entries = [held for _, held in before.entries if old(held)]
    each(lambda held: bucket.delete(held.name), entries)
    named = _named(bucket, (row for row in before.entries if not old(row[1])))
    files = {sha256: held for sha256, held in before.blobs.items() if old(held) and sha256 not in named}
    each(lambda held: bucket.delete(held.name), files.values())
    known = {str(name) for name, _ in before.entries}
    after = inventory.taken(bucket)
    orphans = [
        row for row in after.entries if str(row[0]) not in known and files.keys() & _named(bucket, [row])
    ]
    each(lambda row: bucket.delete(row[1].name), orphans)
    gone = [*entries, *files.values(), *(held for _, held in orphans)]
    left = sum(h.bytes for h in (*(h for _, h in after.entries), *after.blobs.values(), *after.strange))
    left -= sum(held.bytes for _, held in orphans)
    return RemoteCollected(len(entries) + len(orphans), len(files), sum(h.bytes for h in gone), left)


def _named(bucket: Bucket, entries: Iterable[tuple[EntryName, RemoteFile]]) -> set[str]:
    """The SHA-256 of each file that some entry names, whoever has signed it: others may share the bucket."""
    every = each(lambda row: _files(bucket, row[1]), [row for row in entries if not row[0].bare])
    return set().union(*every)


def _files(bucket: Bucket, held: RemoteFile) -> set[str]:
    try:
        envelope = bucket.content(held.name, MOST_BYTES)
        return {f.sha256 for f in claimed(envelope).tree.files.values()} if envelope is not None else set()
    except (Untrusted, Damaged):
        return set()
