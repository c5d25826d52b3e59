"""Where things lie in a remote, by names that are made here and read here: nothing of a server is a path.

v1/ledger/<aa>/<salted lookup key>/<full key>-<key id>.json       a signed entry
v1/ledger/<aa>/<salted lookup key>/<full key>-<key id>.bare.json  the same, whose files were not sent
v1/blobs/<aa>/<sha256>                                            one file of an object
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from modelbuild.base.keys import digest

LEDGER = "v1/ledger/"
BLOBS = "v1/blobs/"

_HEX64 = "[0-9a-f]{64}"
_ENTRY = re.compile(
    rf"{LEDGER}(?P<aa>[0-9a-f]{{2}})/(?P<salted>{_HEX64})/(?P<key>{_HEX64})-(?P<by>[0-9a-f]{{16}})"
    r"(?P<bare>\.bare)?\.json",
    re.ASCII,
)
_BLOB = re.compile(rf"{BLOBS}(?P<aa>[0-9a-f]{{2}})/(?P<sha256>{_HEX64})", re.ASCII)


@dataclass(frozen=True)
class RemoteFile:
    """Something in a remote: its name there, its size in bytes, when it came (seconds since 1970)."""

    name: str
    bytes: int
    modified: float


@dataclass(frozen=True)
class EntryName:
    """The name of an entry, taken apart: digests without ``sha256:``, ``by`` the id of the signer's key."""

    salted: str
    key: str
    by: str
    bare: bool = False

    def __str__(self) -> str:
        return f"{folder(self.salted)}{self.key}-{self.by}{'.bare' if self.bare else ''}.json"


def folder(salted: str) -> str:
    """Where the entries of a key are."""
    return f"{LEDGER}{salted[:2]}/{salted}/"


def blob(sha256: str) -> str:
    return f"{BLOBS}{sha256[:2]}/{sha256}"


def entry_name(name: str) -> EntryName | None:
    """None if this is no name of an entry."""
    found = _ENTRY.fullmatch(name)
    if found is None or not found["salted"].startswith(found["aa"]):
        return None
    return EntryName(found["salted"], found["key"], found["by"], found["bare"] is not None)


def blob_digest(name: str) -> str | None:
    """The SHA-256 that a blob is called by; None if this is no name of one."""
    found = _BLOB.fullmatch(name)
    return found["sha256"] if found is not None and found["sha256"].startswith(found["aa"]) else None


def salted(lookup_key: str, salt: str) -> str:
    """The digits under which the entries of a key lie; with a salt, nobody without it can ask for them."""
    return (digest([salt, lookup_key]) if salt else lookup_key).partition(":")[2]
