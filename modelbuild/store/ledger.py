"""What is known: results by the facts that gave them, and the last build of each recipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelbuild.store import inside
from modelbuild.store.entries import Entry, Memory
from modelbuild.store.files import remove, write_atomically
from modelbuild.store.layout import Layout
from modelbuild.store.sealing import seal, unseal

# Of an entry: that of an export of 10 000 nodes, with their lines, has 2 MB.
_MOST_BYTES = 1 << 26


class Ledger:
    """The entries and memories of a cache. What cannot be read does not count."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def entries(self, lookup_key: str) -> list[Entry]:
        """What is known for these facts, newest first."""
        folder = self.layout.entries(lookup_key)
        if not inside.is_folder(folder, self.layout.root):
            return []
        paths = []
        with contextlib.suppress(OSError), os.scandir(folder) as found:
            for file in found:
                if file.name.endswith(".json"):
                    with contextlib.suppress(OSError):
                        paths.append((file.stat(follow_symlinks=False).st_mtime_ns, file.path))
        read = (self.entry(Path(path), lookup_key) for _, path in sorted(paths, reverse=True))
        return [entry for entry in read if entry is not None]

    def has(self, lookup_key: str) -> bool:
        """Whether there may be something for these facts, without a look at what."""
        return inside.is_folder(self.layout.entries(lookup_key), self.layout.root)

    def record(self, lookup_key: str, entry: Entry) -> None:
        name = entry.key.partition(":")[2] + ".json"
        self._write(self.layout.entries(lookup_key) / name, seal(entry.as_json()))

    def history(self, recipe: str) -> dict[str, Any]:
        """What was remembered of this recipe's last build, by action; empty if never."""
        memory = self.memory(self.layout.history(recipe))
        return dict(memory.actions) if memory is not None and memory.recipe == recipe else {}

    def remember(self, recipe: str, actions: Mapping[str, Any]) -> None:
        memory = {"recipe": recipe, "actions": dict(actions)}
        self._write(self.layout.history(recipe), seal(memory))

    def entry(self, path: Path, lookup_key: str) -> Entry | None:
        """The entry in a file that belongs to these facts, if it is whole."""
        try:
            return Entry.from_json(self._unsealed(path), lookup_key)
        except (OSError, ValueError):
            return None

    def memory(self, path: Path) -> Memory | None:
        """The memory in a file, if it is whole."""
        try:
            return Memory.from_json(self._unsealed(path))
        except (OSError, ValueError):
            return None

    def _unsealed(self, path: Path) -> Any:
        return unseal(inside.content(path, self.layout.root, _MOST_BYTES))

    def _write(self, path: Path, text: str) -> None:
        inside.made(path.parent, self.layout.root)
        if path.is_dir():  # damage: a file belongs here
            remove(path)
        write_atomically(path, text)
