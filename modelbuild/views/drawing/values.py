"""What is drawn: actions with what they need, the files that come out, and how each of them stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from modelbuild.base.errors import Diagnostic
from modelbuild.wording.phrases import few


@dataclass(frozen=True)
class DrawnNode:
    """An action. ``needs`` maps a role to the action whose files it reads; ``gates`` only have to
    have succeeded. ``changes`` are what moved for it, in words; a stale one without any ``waits``
    for actions that are not fresh, and stands if they come out with the same bytes."""

    id: str
    kind: str
    status: str  # fresh | remote | stale | skipped | blocked | failed
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
        if self.changes:
            return f"{self.status}: {few(self.changes, 1)}"
        return f"{self.status}: waits for {', '.join(self.waits)}" if self.waits else self.status


@dataclass(frozen=True)
class DrawnFile:
    """An artifact: ``action`` makes it, and ``proof``, where there is one, lets it out."""

    name: str
    kind: str  # onnx | engine
    action: str
    proof: str | None
    status: str
    reason: str | None = None


@dataclass(frozen=True)
class Box:
    """An action or a file in a picture, with the lines that stand in it."""

    id: str
    lines: tuple[str, ...]
    status: str
    is_file: bool = False


@dataclass(frozen=True)
class Arrow:
    """From one box to another; ``gates``: nothing is read, it only has to have succeeded."""

    start: str
    end: str
    label: str = ""
    gates: bool = False


@dataclass(frozen=True)
class Graph:
    """One recipe's actions, each after all that it needs, and its files."""

    recipe: str
    name: str
    nodes: tuple[DrawnNode, ...] = ()
    files: tuple[DrawnFile, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    exit_code: int = 0

    def parts(self, prefix: str) -> Iterator[Box | Arrow]:
        """Everything that a picture of it has; ``prefix`` tells its boxes from another graph's."""
        ids = {node.id: f"{prefix}a{i}" for i, node in enumerate(self.nodes)}
        for node in self.nodes:
            yield Box(ids[node.id], (node.id, node.told), node.status)
        for node in self.nodes:
            yield from (Arrow(ids[maker], ids[node.id], role) for role, maker in node.needs.items())
            yield from (Arrow(ids[gate], ids[node.id], "must pass", gates=True) for gate in node.gates)
        for number, file in enumerate(self.files):
            name = f"{prefix}f{number}"
            told = f"{file.status}: {file.reason}" if file.reason else file.status
            yield Box(name, (file.name, told), file.status, is_file=True)
            yield Arrow(ids[file.action], name)
            if file.proof:
                yield Arrow(ids[file.proof], name, "proof", gates=True)

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
