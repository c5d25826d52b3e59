"""What is drawn: actions with what they need, the files that come out, and how each of them stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from modelbuild.errors import Diagnostic


@dataclass(frozen=True)
class Node:
    """An action. ``needs`` maps a role to the action whose files it reads; ``gates`` only have to
    have succeeded. ``changes`` are what moved for it, in words; a stale one without any ``waits``
    for actions that are not fresh, and stands if they come out with the same bytes."""

    id: str
    kind: str
    status: str  # fresh | stale | skipped | blocked | failed
    changes: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()

    @property
    def before(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.needs.values(), *self.gates)))

    @property
    def told(self) -> str:
        """Its status and why: ``stale: opset changed: 17 -> 18 and 2 more``."""
        more = f" and {len(self.changes) - 1} more" if len(self.changes) > 1 else ""
        if self.changes:
            return f"{self.status}: {self.changes[0]}{more}"
        return f"{self.status}: waits for {', '.join(self.waits)}" if self.waits else self.status


@dataclass(frozen=True)
class File:
    """An artifact: ``action`` makes it, and ``proof``, where there is one, lets it out."""

    name: str
    kind: str  # onnx | engine
    action: str
    proof: str | None
    status: str
    reason: str | None = None


@dataclass(frozen=True)
class Graph:
    """One recipe's actions, each after all that it needs, and its files."""

    recipe: str
    name: str
    nodes: tuple[Node, ...] = ()
    files: tuple[File, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    exit_code: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "name": self.name,
            "status": "failed" if self.exit_code else "ok",
            "diagnostics": [d.as_json() for d in self.diagnostics],
            "actions": [asdict(n) for n in self.nodes],
            "artifacts": [asdict(f) for f in self.files],
        }


@dataclass(frozen=True)
class Drawing:
    """The graphs of a command, in the order of the recipes."""

    graphs: tuple[Graph, ...]

    @property
    def exit_code(self) -> int:
        return max((g.exit_code for g in self.graphs), default=0)

    def as_json(self) -> dict[str, Any]:
        rows = [g.as_json() for g in self.graphs]
        return {"schema": 1, "ok": not self.exit_code, "recipes": rows}
