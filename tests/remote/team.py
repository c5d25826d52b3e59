"""A team around one remote: somebody who builds and signs, somebody who reads with an empty cache."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelbuild.base.keys import digest, full_key
from modelbuild.remote import layout
from modelbuild.remote.bucket import Bucket, Patience
from modelbuild.remote.configured import Remote, Trusted
from modelbuild.remote.reading import Reader
from modelbuild.remote.signing import Signer, generate, public_key
from modelbuild.remote.statements import stated
from modelbuild.store import Entry, Store

FACTS = {"step": "export", "opset": 18}
SHORT = Patience(connect=1.0, read=1.0, retries=0)


def new_signer() -> Signer:
    return Signer.read(generate()[1])


@dataclass(frozen=True)
class Made:
    """A result in the builder's store, and what it is called."""

    lookup_key: str
    entry: Entry
    folder: Path

    @property
    def blobs(self) -> list[str]:
        return [layout.blob(file.sha256) for file in self.entry.tree.files.values()]


@dataclass
class Team:
    folder: Path
    url: str
    salt: str = ""
    signer: Signer = field(default_factory=new_signer)
    trust: tuple[Trusted, ...] | None = None

    @property
    def remote(self) -> Remote:
        trust = (Trusted(public_key(self.signer.public)),) if self.trust is None else self.trust
        return Remote(self.url, trust, self.salt)

    @property
    def root(self) -> Path:
        """The folder behind a ``file:`` remote."""
        return Path(self.url.removeprefix("file://"))

    def made(self, content: bytes = b"the graph", **facts: Any) -> Made:
        """Build something: a file, stored under these facts beside those of all."""
        store = Store(self.folder / "builder")
        work = store.workspace()
        (work / "model.onnx").write_bytes(content)
        tree = store.put(work)
        found = {**FACTS, **facts}
        place = store.folder(tree)
        assert place is not None
        return Made(digest(found), Entry(full_key(found, {}), tree, found), place)

    def name(self, made: Made, signer: Signer | None = None) -> str:
        salted = layout.salted(made.lookup_key, self.salt)
        by = (signer or self.signer).keyid
        return str(layout.EntryName(salted, made.entry.key.partition(":")[2], by))

    def envelope(self, made: Made, signer: Signer | None = None, salt: str | None = None) -> bytes:
        salt = self.salt if salt is None else salt
        return stated(made.lookup_key, made.entry, salt, signer or self.signer, time.time())

    def bucket(self, writes: bool = True, limits: Patience | None = None) -> Bucket:
        return Bucket(self.remote, writes, limits)

    def push(self, made: Made, envelope: bytes | None = None, name: str | None = None) -> None:
        """Send up the files, then the entry."""
        bucket = self.bucket()
        for file, row in made.entry.tree.files.items():
            bucket.create(layout.blob(row.sha256), made.folder / file)
        assert bucket.create(name or self.name(made), self.envelope(made) if envelope is None else envelope)

    def reader(self, name: str = "reader", limits: Patience | None = None, **other: Any) -> Reader:
        """Somebody with an empty cache, who may have another salt or trust others."""
        store = Store(self.folder / name)
        return Reader(replace(self.remote, **other), store, limits)


def said(reader: Reader) -> str:
    return "\n".join(diagnostic.render() for diagnostic in reader.said())


def changed(envelope: bytes, **keys: Any) -> bytes:
    """An envelope with other values, its signature as it was."""
    return json.dumps({**json.loads(envelope), **keys}).encode()
