"""What files of the cache say, read strictly: an entry of the ledger, and a recipe's memory.

This is the one reader of them. Whoever can write to a cache, or stands behind a remote one, can write
anything into them, sealed as well as ours: so what is read here is of the right types, names nothing
but plain files, and is called what its content is called. All else is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modelbuild.base import shapes
from modelbuild.base.keys import digest, full_key
from modelbuild.base.records import DATA, DIAGNOSTIC
from modelbuild.base.shapes import count, mapping, maybe, record, rows, seconds, text
from modelbuild.store.files import File
from modelbuild.store.objects import Tree, named

_MOST_FILES = 100_000


def _discovered(value: Any) -> bool:
    """The name of a fact that a run discovered, as `trace.facts` has them. A pattern is a recipe's, and
    what a stranger's matches would have to be looked for on the whole disk."""
    return shapes.asked(value) and value != "" and not value.startswith("glob ")


_DISCOVERED = mapping(maybe(text), _discovered)
_FACTS = record({}, {"step": text}, open=True)


def _file(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and shapes.sha256(value[0]) and count(value[1])


_ENTRY = record(
    {
        "key": shapes.digest,
        "tree": record({"digest": shapes.digest, "files": mapping(_file, shapes.name)}),
        "facts": _FACTS,
        "discovered": _DISCOVERED,
        "diagnostics": rows(DIAGNOSTIC),
        "data": DATA,
        "seconds": seconds,
        "peak": count,
    }
)

_REMEMBERED = record(
    {"facts": _FACTS, "discovered": _DISCOVERED},
    {
        "outlines": mapping(mapping(text)),
        "unstable": rows(text),
        "tree": shapes.digest,
        "key": shapes.digest,
        "seconds": seconds,
        "peak": count,
    },
    open=True,
)

_MEMORY = record({"recipe": text, "actions": mapping(_REMEMBERED)})


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
        tree = {"digest": self.tree.digest, "files": files}
        return {**self.__dict__, "tree": tree, "diagnostics": list(self.diagnostics)}

    @classmethod
    def from_json(cls, data: Any, lookup_key: str | None = None) -> Entry:
        """The entry as it was written, for the facts whose digest is ``lookup_key``.

        Raises:
            ValueError: it is none, or not of these facts, or not called what it holds.
        """
        if not _ENTRY(data) or len(data["tree"]["files"]) > _MOST_FILES:
            raise ValueError("not an entry")
        tree = named({name: File(*row) for name, row in data["tree"]["files"].items()})
        if tree.digest != data["tree"]["digest"]:
            raise ValueError("its object is not called what its files are")
        if data["key"] != full_key(data["facts"], data["discovered"]):
            raise ValueError("its key is not that of its facts")
        if lookup_key is not None and digest(data["facts"]) != lookup_key:
            raise ValueError("it is of other facts")
        return cls(**{**data, "tree": tree, "diagnostics": tuple(data["diagnostics"])})


@dataclass(frozen=True)
class Memory:
    """The last build of a recipe: by action, its facts, what it read by itself, its object's digest."""

    recipe: str
    actions: Mapping[str, Any]

    @classmethod
    def from_json(cls, data: Any) -> Memory:
        """The memory as it was written.

        Raises:
            ValueError: it is none.
        """
        if not _MEMORY(data):
            raise ValueError("not a memory")
        return cls(**data)

    def trees(self) -> set[str]:
        """The objects that the recipe's outputs are copies of, or were made from."""
        return {m["tree"] for m in self.actions.values() if "tree" in m}
