"""The cache: objects by content, results by key; the only package that writes into it.

An object is a folder of files, named by the digest of its listing, written beside its place and
renamed into it: it is there whole or not at all, and two builds may write the same one at once.
The ledger maps a step's facts to the object that they gave, and those without the bounds to what
was measured; a failure is recorded only as a refusal, with what it read.

    objects/ab/<digest>/…         the files, read-only; the folder's mtime is when it was last used
    objects/ab/<digest>.gone/     being deleted
    aside/<digest>/               damaged: kept for a look, deleted by the next collection
    ledger/ab/<digest>/*.json     entries, sealed: one per state of what the step read by itself
    history/<digest>.json         sealed: what a recipe's last build knew, and where its outputs are
    work/<session>/lock           held by the session's process for as long as it lives
    work/<session>/pins           the objects that it uses
    work/<session>/<n>/           its steps at work
    locks/<digest>                who builds what
    logs/<project>/<recipe>/<action>.log  what the libraries said
    stats.jsonl                   a line per build
    gate                          a lock: shared by those who pin, exclusive for a collection

There are no links in it, and none is followed: see `inside`. What is in its files is read by `entries`
alone, which believes nothing.

Every file may be missing, cut short or damaged: then the cache is one with less in it. A process
may die between any two system calls; what it leaves is either whole or in a place that nobody
reads, and the next session or collection removes it. Nothing is flushed to the disk, so after a
power cut `check` is the way to know what survived.
"""

from modelbuild.store.cache import Store
from modelbuild.store.checking import Checked, check
from modelbuild.store.collecting import Collected, collect
from modelbuild.store.counting import Stats, stats
from modelbuild.store.entries import Entry
from modelbuild.store.files import File, hash_file, publish_all, write_atomically
from modelbuild.store.locks import HeldLock
from modelbuild.store.objects import Tree

__all__ = [
    "Checked",
    "Collected",
    "Entry",
    "File",
    "HeldLock",
    "Stats",
    "Store",
    "Tree",
    "check",
    "collect",
    "hash_file",
    "publish_all",
    "stats",
    "write_atomically",
]
