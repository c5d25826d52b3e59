"""What a review says, as values; their JSON is the answer of ``diff --format json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from modelbuild.base.catalogue import EXIT_OK, EXIT_STEP_FAILED, EXIT_USAGE
from modelbuild.base.errors import Diagnostic
from modelbuild.changes.sides import Revision
from modelbuild.recipe.differing import Change

Kind = Literal["changed", "added", "removed"]
Fate = Literal["rebuild", "prove", "same", "added", "removed"]


@dataclass(frozen=True)
class Effect:
    """What becomes of an artifact. ``prove``: its file stays and is compared with PyTorch again.

    ``actions`` are those that run again for it, ``seconds`` what they took when they last ran, the
    shared ones included; None if that is not known.
    """

    artifact: str
    fate: Fate
    actions: tuple[str, ...] = ()
    seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        seconds = None if self.seconds is None else round(self.seconds, 3)
        return {"name": self.artifact, "change": self.fate, "seconds": seconds}


@dataclass(frozen=True)
class RecipeReview:
    """One recipe that a change touches. ``was`` is where it lay, if that was another place.

    ``changes`` are in the recipe's words, ``files`` those that it depends on, ``lock`` what its lock
    files say. ``seconds`` is what all that runs again took last time, each action once; ``unknown``
    counts the actions of which that is not known.
    """

    recipe: str
    name: str
    kind: Kind
    was: str | None = None
    changes: tuple[Change, ...] = ()
    files: tuple[Change, ...] = ()
    artifacts: tuple[Effect, ...] = ()
    seconds: float | None = None
    unknown: int = 0
    lock: tuple[Change, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def failed(self) -> bool:
        return any(d.level == "error" for d in self.diagnostics)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self.diagnostics if d.level == "warning")

    def fated(self, *fates: Fate) -> tuple[Effect, ...]:
        return tuple(e for e in self.artifacts if e.fate in fates)

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "name": self.name,
            "status": "failed" if self.failed else "ok",
            "change": self.kind,
            "was": self.was,
            "diagnostics": [d.as_json() for d in self.diagnostics],
            "changes": [c.as_json() for c in self.changes],
            "files": [c.as_json() for c in self.files],
            "artifacts": [e.as_json() for e in self.artifacts],
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            "unknown": self.unknown,
            "lock": [c.as_json() for c in self.lock],
        }


@dataclass(frozen=True)
class Review:
    """A whole change. ``moved`` are recipes that only lie elsewhere, new place by old; ``reformatted``
    those whose text alone is another."""

    base: Revision
    head: Revision
    recipes: tuple[RecipeReview, ...] = ()
    moved: Mapping[str, str] | None = None
    reformatted: tuple[str, ...] = ()

    def every(self) -> Iterator[Diagnostic]:
        for recipe in self.recipes:
            yield from recipe.diagnostics

    @property
    def ok(self) -> bool:
        return all(d.level != "error" for d in self.every())

    def exit_code(self, strict: bool = False) -> int:
        """2 if something in the new revision is wrong; with ``strict``, 1 if there is a warning."""
        if not self.ok:
            return EXIT_USAGE
        warned = any(d.level == "warning" for d in self.every())
        return EXIT_STEP_FAILED if strict and warned else EXIT_OK

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "ok": self.ok,
            "base": self.base.as_json(),
            "head": self.head.as_json(),
            "recipes": [r.as_json() for r in self.recipes],
            "moved": [{"from": old, "to": new} for old, new in (self.moved or {}).items()],
            "reformatted": list(self.reformatted),
        }
