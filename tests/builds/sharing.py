"""A remote cache in a folder, for tests: what a project has built, as ``cache push`` leaves it there."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from modelbuild.remote import layout, signing, statements
from modelbuild.remote.signing import Signer
from modelbuild.store import Entry, Store
from modelbuild.store.ledger import Ledger
from tests.conftest import Project


@dataclass
class Team:
    """A remote in ``folder``, and the key that its entries are signed with."""

    folder: Path
    signer: Signer
    salt: str = ""

    @classmethod
    def founded(cls, folder: Path) -> Team:
        folder.mkdir(parents=True)
        return cls(folder, Signer.read(signing.generate()[1]))

    def joined(self, project: Project, trust: str | None = None) -> None:
        """Have the project's file name this remote."""
        project.write(
            "pyproject.toml",
            f'[tool.modelbuild.remote]\nurl = "file://{self.folder}"\n'
            f'trust = ["{trust or self.signer.public}"]\nsalt = "{self.salt}"\n',
        )

    def takes(self, project: Project) -> None:
        """Send all that the project's cache has."""
        store = Store(project.folder / "cache")
        ledger = Ledger(store.layout)
        for lookup_key, path in store.layout.ledger_files():
            entry = ledger.entry(path, lookup_key)
            assert entry is not None
            self.take(store, lookup_key, entry)

    def take(self, store: Store, lookup_key: str, entry: Entry) -> None:
        for name, file in entry.tree.files.items():
            self._put(layout.blob(file.sha256), store.layout.object(entry.tree.digest) / name)
        salted = layout.salted(lookup_key, self.salt)
        name = layout.EntryName(salted, entry.key.partition(":")[2], self.signer.keyid)
        envelope = statements.stated(lookup_key, entry, self.salt, self.signer, time.time())
        self._put(str(name), envelope)

    def entries(self) -> list[Path]:
        return sorted((self.folder / "v1/ledger").rglob("*.json"))

    def blobs(self) -> list[Path]:
        return sorted(p for p in (self.folder / "v1/blobs").rglob("*") if p.is_file())

    def _put(self, name: str, content: bytes | Path) -> None:
        place = self.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            shutil.copyfile(content, place)
