"""What is known: results by the facts that gave them, and the last build of each recipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelbuild.store.files import File, remove, write_atomically
from modelbuild.store.layout import Layout
from modelbuild.store.objects import Tree
from modelbuild.store.sealing import seal, unseal


@dataclass(frozen=True)
class Entry:
    """A step's stored result. ``discovered`` is what it read by itself, with the digests then."""

    key: str
    tree: Tree
    facts: Mapping[str, Any]
    discovered: Mapping[str, str | None] = field(default_factory=dict)
    diagnostics: tuple[Mapping[str, Any], ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak: int = 0

    def as_json(self) -> dict[str, Any]:
        files = {name: [f.sha256, f.bytes] for name, f in self.tree.files.items()}
        return {**self.__dict__, "tree": {"digest": self.tree.digest, "files": files}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Entry:
        """The entry as it was written.

        Raises:
            TypeError: this is not what ``as_json`` gives; or KeyError, or ValueError.
        """
        if not isinstance(data, dict) or not isinstance(data["tree"], dict):
            raise TypeError("not an entry")
        mappings = (data["facts"], data["discovered"], data["data"], data["tree"]["files"])
        said = data["diagnostics"]
        if not all(isinstance(m, dict) for m in (*mappings, *said)):
            raise TypeError("not an entry")
        files = {name: File(*row) for name, row in data["tree"]["files"].items()}
        tree = Tree(data["tree"]["digest"], files)
        return cls(**{**data, "tree": tree, "diagnostics": tuple(said)})


@dataclass(frozen=True)
class Memory:
    """The last build of a recipe: by action, its facts, what it read by itself, its object's digest."""

    recipe: str
    actions: Mapping[str, Any]

    def trees(self) -> set[str]:
        """The objects that the recipe's outputs are copies of, or were made from."""
        return {m["tree"] for m in self.actions.values() if isinstance(m.get("tree"), str)}


class Ledger:
    """The entries and memories of a cache. What cannot be read does not count."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def entries(self, cheap: str) -> list[Entry]:
        """What is known for these facts, newest first."""
        paths = []
        with contextlib.suppress(OSError), os.scandir(self.layout.entries(cheap)) as found:
            for file in found:
                if file.name.endswith(".json"):
                    with contextlib.suppress(OSError):
                        paths.append((file.stat().st_mtime_ns, file.path))
        read = (read_entry(Path(path)) for _, path in sorted(paths, reverse=True))
        return [entry for entry in read if entry is not None]

    def record(self, cheap: str, entry: Entry) -> None:
        name = entry.key.partition(":")[2] + ".json"
        _write(self.layout.entries(cheap) / name, seal(entry.as_json()))

    def history(self, recipe: str) -> dict[str, Any]:
        """What was remembered of this recipe's last build, by action; empty if never."""
        memory = read_memory(self.layout.history(recipe))
        return dict(memory.actions) if memory is not None and memory.recipe == recipe else {}

    def remember(self, recipe: str, actions: Mapping[str, Any]) -> None:
        memory = {"recipe": recipe, "actions": dict(actions)}
        _write(self.layout.history(recipe), seal(memory))


def _write(path: Path, text: str) -> None:
    if path.is_dir():  # damage: a file belongs here
        remove(path)
    write_atomically(path, text)


def read_entry(path: Path) -> Entry | None:
    """The entry in a file, if it is whole."""
    try:
        return Entry.from_json(unseal(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_memory(path: Path) -> Memory | None:
    """The memory in a file, if it is whole."""
    try:
        data = unseal(path.read_bytes())
        memory = Memory(**data)
    except (OSError, ValueError, TypeError):
        return None
    actions = memory.actions
    good = isinstance(memory.recipe, str) and isinstance(actions, dict)
    return memory if good and all(_is_remembered(a) for a in actions.values()) else None


def _is_remembered(action: object) -> bool:
    """Whether this is what a build remembers of an action: its facts, and what it read by itself."""
    return isinstance(action, dict) and all(
        isinstance(action.get(part), dict) for part in ("facts", "discovered")
    )
