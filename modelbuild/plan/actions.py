"""What there is to do for a recipe, as values: actions, what needs what, and the files that come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from modelbuild.recipe.problems import Route
from modelbuild.recipe.schema import Recipe
from modelbuild.steps.base import Step
from modelbuild.steps.model import ModelSource
from modelbuild.steps.ranges import Ranges

REFERENCE = "reference"  # the action that runs PyTorch at all sizes


@dataclass(frozen=True)
class Action:
    """A step with its place in the graph.

    ``needs`` maps a role of the step's input to the action whose files it gets; ``gates`` are
    actions that must have succeeded although their files are not read. ``folders`` are inputs that
    no action makes. An action that ``discovers`` reads files by itself, which are traced. ``variant``
    is the static one that it is for (``batch8-sequence128``), empty for the dynamic model. ``about`` is the
    part of the recipe that asks for it, no fact: it says where to look when the action fails.
    """

    id: str
    step: Step
    needs: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)
    discovers: bool = False
    remembered: bool = True  # looked up in the ledger and recorded in it
    variant: str = ""
    about: Route = ()

    @property
    def beside_model(self) -> bool:
        return self.step.beside_model

    @property
    def before(self) -> tuple[str, ...]:
        return (*self.needs.values(), *self.gates)


@dataclass(frozen=True)
class Artifact:
    """A file that users get: ``action`` makes it, ``proof`` (another action) lets it out."""

    name: str
    kind: str  # "onnx" | "engine"
    precision: str
    axes: Mapping[str, int]
    action: str
    proof: str | None
    backend: str | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """The actions that must have succeeded before it is given out."""
        return (self.action,) if self.proof is None else (self.action, self.proof)


@dataclass(frozen=True)
class Plan:
    """What there is to do. ``exported`` and ``references`` are for static variants where the dynamic
    model cannot be exported, or does not run at all of its sizes: see ``rerouting``."""

    recipe: Recipe
    actions: tuple[Action, ...]  # in an order that respects ``before``
    artifacts: tuple[Artifact, ...]
    source: ModelSource | None  # None: an ONNX file, no PyTorch
    exported: tuple[Action, ...] = ()  # what makes the variants, each exported at its own sizes
    references: tuple[Action, ...] = ()  # PyTorch at the sizes of one variant alone

    @cached_property
    def by_id(self) -> Mapping[str, Action]:
        return {a.id: a for a in self.actions}

    @cached_property
    def of_action(self) -> Mapping[str, tuple[Artifact, ...]]:
        """By action: the artifacts that it makes or proves."""
        found: dict[str, tuple[Artifact, ...]] = {}
        for artifact in self.artifacts:
            for action in dict.fromkeys(artifact.needed):
                found[action] = (*found.get(action, ()), artifact)
        return found

    @cached_property
    def owned(self) -> Mapping[str, tuple[str, ...]]:
        """By artifact: the actions whose trouble is told with it, in their order. Of several artifacts that
        need an action that is the first, and none for the run of PyTorch at all sizes."""
        owner: dict[str, str] = {}
        for artifact in self.artifacts:
            todo = list(artifact.needed)
            for action in todo:
                if action in self.by_id and action not in owner:
                    owner[action] = artifact.name
                    todo += self.by_id[action].before
        found: dict[str, list[str]] = {a.name: [] for a in self.artifacts}
        for action in self.by_id:
            if action in owner and action != REFERENCE:
                found[owner[action]].append(action)
        return {name: tuple(actions) for name, actions in found.items()}

    def dependents(self, action: str) -> tuple[str, ...]:
        """The actions that wait for this one, directly or not."""
        found = {action}
        for other in self.actions:
            if found & set(other.before):
                found.add(other.id)
        return tuple(a.id for a in self.actions if a.id in found - {action})

    def needed(self) -> set[str]:
        """The actions that some artifact comes from."""
        found = {i for a in self.artifacts for i in a.needed}
        for action in reversed(self.actions):
            if action.id in found:
                found.update(action.before)
        return found

    def only(self, wanted: Callable[[Artifact], bool]) -> Plan:
        """The plan for some of the artifacts: they, and what they need."""
        part = replace(self, artifacts=tuple(a for a in self.artifacts if wanted(a)))
        needed = part.needed()
        return replace(part, actions=tuple(a for a in self.actions if a.id in needed))

    def with_ranges(self) -> Plan:
        """The plan that also measures what the tensors of each half precision model hold.

        Not of its static variants, whose tensors are the same.
        """
        more = tuple(
            Action(
                f"ranges {a.action}",
                Ranges(filename=a.name, precision=a.precision),
                {"model": a.action, "reference": REFERENCE},
            )
            for a in self.artifacts
            if a.kind == "onnx" and a.precision in ("fp16", "bf16") and not a.axes
        )
        return replace(self, actions=(*self.actions, *more))

    def measuring(self, folder: Path) -> Plan:
        """The plan that measures the published files in ``folder`` again and builds nothing."""
        artifacts = tuple(a for a in self.artifacts if a.proof)
        proofs = {a.proof for a in artifacts}
        actions = []
        for action in self.actions:
            if action.id == REFERENCE:
                actions.append(replace(action, gates=()))
            elif action.id in proofs:
                actions.append(
                    replace(
                        action,
                        needs={"reference": REFERENCE},
                        gates=(),
                        folders={"model": folder, "onnx": folder},
                        remembered=False,
                    )
                )
        own = tuple(replace(r, gates=()) for r in self.references)
        return replace(self, actions=tuple(actions), artifacts=artifacts, exported=(), references=own)
