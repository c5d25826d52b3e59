"""What the last build of a recipe saw, as evidence of what it depends on: the facts that it discovered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelbuild.changes.edits import Edits
from modelbuild.trace import kinds


@dataclass(frozen=True)
class Seen:
    """A fact that ``actions`` discovered, by their ids."""

    fact: str
    value: str | None
    actions: frozenset[str] = frozenset()

    def changes(self, edits: Edits, base: str) -> Iterator[str]:
        """The changes that can have moved it; ``base`` is the recipe's folder."""
        kind, rest = kinds.parted(self.fact)
        return kind.touched(edits, rest, self.value, base)


def seen(history: Mapping[str, Any], actions: Iterable[str]) -> list[Seen]:
    """What these actions, by their ids, discovered when they last ran; in the order of the facts."""
    found: dict[tuple[str, str | None], set[str]] = {}
    for action in actions:
        for fact in history.get(action, {}).get("discovered", {}).items():
            found.setdefault(fact, set()).add(action)
    return [Seen(*fact, frozenset(ids)) for fact, ids in sorted(found.items(), key=lambda f: str(f[0]))]
