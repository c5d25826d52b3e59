"""Recipe -> actions: what there is to do, what needs what, and which files come out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from modelbuild.base.tensors import Axis, distinct, sampled_sizes, traced_sizes
from modelbuild.base.tolerance import Tolerance
from modelbuild.recipe.schema import Bf16, Engine, Fp16, Recipe, Reduced, ReducedName
from modelbuild.steps.adopt import Adopt, AdoptedReference
from modelbuild.steps.base import Step
from modelbuild.steps.checkpoints import Weights
from modelbuild.steps.engine import ENGINES
from modelbuild.steps.export import Export
from modelbuild.steps.half import Half
from modelbuild.steps.mixed import Mixed
from modelbuild.steps.model import ModelSource
from modelbuild.steps.ranges import Ranges
from modelbuild.steps.reference import Reference, Sampling
from modelbuild.steps.simplify import Simplify
from modelbuild.steps.static import Static
from modelbuild.steps.verify import Verify, VerifyEngine

REFERENCE = "reference"  # the action that runs PyTorch at all sizes


@dataclass(frozen=True)
class Action:
    """A step with its place in the graph.

    ``needs`` maps a role of the step's input to the action whose files it gets; ``gates`` are
    actions that must have succeeded although their files are not read. ``folders`` are inputs that
    no action makes. An action that ``discovers`` reads files by itself, which are traced. ``variant``
    is the static one that it is for (``batch8-sequence128``), empty for the dynamic model.
    """

    id: str
    step: Step
    needs: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)
    discovers: bool = False
    remembered: bool = True  # looked up in the ledger and recorded in it
    variant: str = ""

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
                Ranges(a.name, a.precision),
                {"model": a.action, "reference": REFERENCE},
            )
            for a in self.artifacts
            if a.kind == "onnx" and a.precision != "fp32" and not a.axes
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


def plan(recipe: Recipe, *, gpu: str | None = None) -> Plan:
    """Everything that this recipe asks for. Engines for ``gpu`` (``sm89``) are proven, too."""
    return _Planner(recipe, gpu).plan()


class _Planner:
    def __init__(self, recipe: Recipe, gpu: str | None) -> None:
        self.recipe = recipe
        self.gpu = gpu
        self.axes: tuple[Axis, ...] = recipe.axes()
        self.specs = recipe.specs()
        fixed = {d for s in self.specs for d in s.shape if isinstance(d, int)}
        self.traced = traced_sizes(self.axes, fixed)
        self._sampled: dict[tuple[str, ...], tuple[dict[str, int], ...]] = {}
        self.rows = self._rows({})
        self.actions: list[Action] = []
        self.artifacts: list[Artifact] = []
        self.source = _source(recipe)
        self.listed = recipe.initializer_names or recipe.keep_initializers_as_inputs

    def plan(self) -> Plan:
        recipe = self.recipe
        if self.source is not None:
            self._reference()
        precisions = recipe.precision
        if precisions.fp32 is not None or any(map(self._converted, precisions.reduced.values())):
            self._export("export", "fp32", {})
            if self.source is None:
                self._reference()
            self._simplify("fp32", "export", {})
        if precisions.fp32 is not None:
            self._onnx("fp32", "fp32", {}, precisions.fp32.tolerance, True)
        for name, knobs in precisions.reduced.items():
            self._reduced(name, knobs, {})
            self._onnx(name, name, {}, knobs.tolerance, knobs.keep_io_types)
        exported = recipe.static_by == "export" and self.source is not None
        for sizes in recipe.static:
            if exported:
                self._exported_variant(sizes)
                continue
            for precision in precisions.names:
                self._static(precision, sizes)
        for engine in recipe.engines:
            self._engine(engine)
        references = tuple(map(self._own_reference, recipe.static))
        return Plan(
            recipe, tuple(self.actions), tuple(self.artifacts), self.source, self._exported(), references
        )

    def _exported(self) -> tuple[Action, ...]:
        """What is another action where variants are exported by themselves."""
        if self.recipe.static_by != "auto" or not self.recipe.static or self.source is None:
            return ()
        other = self.recipe.model_copy(update={"static_by": "export"})
        own = {a.id: a for a in self.actions}
        return tuple(a for a in _Planner(other, self.gpu).plan().actions if own.get(a.id) != a)

    def _exported_variant(self, sizes: Mapping[str, int]) -> None:
        """Every precision of this variant, made as the dynamic files are, with its sizes in the inputs."""
        precisions = self.recipe.precision
        export = f"export {self._made('fp32', sizes)}"
        if precisions.fp32 is not None or any(map(self._converted, precisions.reduced.values())):
            self._export(export, "fp32", sizes)
            self._simplify("fp32", export, sizes)
        if precisions.fp32 is not None:
            self._onnx(self._made("fp32", sizes), "fp32", sizes, precisions.fp32.tolerance, True)
        for name, knobs in precisions.reduced.items():
            self._reduced(name, knobs, sizes)
            self._onnx(self._made(name, sizes), name, sizes, knobs.tolerance, knobs.keep_io_types)

    @staticmethod
    def _converted(knobs: Reduced) -> bool:
        """Whether this precision is made from the fp32 graph."""
        return knobs.method not in ("half", "autocast")

    def _reference(self) -> None:
        rows = distinct(row for sizes in ({}, *self.recipe.static) for row in self._rows(sizes))
        self._add(self._running(REFERENCE, self.axes, rows), {})

    def _rows(self, pinned: Mapping[str, int]) -> list[dict[str, int]]:
        """The sizes of all axes to run at, where these are pinned. Many variants pin the same axes."""
        free = tuple(a for a in self.axes if a.name not in pinned)
        names = tuple(a.name for a in free)
        if names not in self._sampled:
            self._sampled[names] = sampled_sizes(free, self.traced)
        return [{a.name: {**row, **pinned}[a.name] for a in self.axes} for row in self._sampled[names]]

    def _own_reference(self, sizes: Mapping[str, int]) -> Action:
        """PyTorch at the sizes of this variant alone."""
        free = tuple(a for a in self.axes if a.name not in sizes)
        variant = self.recipe.variant_suffix(sizes)
        running = self._running(f"{REFERENCE} {variant}", free, self._rows(sizes))
        return replace(running, variant=variant)

    def _running(self, name: str, axes: tuple[Axis, ...], rows: Sequence[Mapping[str, int]]) -> Action:
        verify = self.recipe.verify
        sampling = Sampling(self.specs, axes, tuple(rows), verify.samples, verify.seed, verify.data)
        if self.source is not None:
            return Action(name, Reference(self.source, sampling), discovers=True)
        # What is wrong with the file's interface is told once, by the action that adopts it.
        step = AdoptedReference(str(self.recipe.model.onnx), sampling)
        return Action(name, step, gates=("export",), discovers=True)

    def _export(
        self,
        name: str,
        precision: Any,
        sizes: Mapping[str, int],
        dtype: ReducedName = "fp16",
        keep_io_types: bool = True,
    ) -> None:
        recipe = self.recipe
        step: Step
        if self.source is None:
            step = Adopt(str(recipe.model.onnx), self.specs, recipe.outputs, recipe.opset)
        else:
            free = [a for a in self.axes if a.name not in sizes]
            specs = tuple(s.pinned(sizes) for s in self.specs)
            fixed = {d for s in specs for d in s.shape if isinstance(d, int)}
            step = Export(
                self.source, specs, recipe.outputs, traced_sizes(free, fixed),
                {a.name: (a.min, a.max) for a in free}, recipe.effective_opset,
                recipe.exporter, recipe.constant_folding, precision, dtype, keep_io_types,
                recipe.initializer_names or (),
            )  # fmt: skip
        # What the model does not take at a variant's sizes is told once, by the run of PyTorch.
        gates = (REFERENCE,) if sizes else ()
        self._add(Action(name, step, gates=gates, discovers=True), sizes)

    def _simplify(self, precision: str, source: str, sizes: Mapping[str, int]) -> None:
        recipe = self.recipe
        done = recipe.exporter == "torchscript" or self.source is None  # by itself; or nobody asked for it
        folding = recipe.constant_folding and (recipe.simplify or not done)
        step = Simplify(self._file(precision, sizes), recipe.simplify, folding, self.listed)
        self._add(Action(self._made(precision, sizes), step, {"model": source}), sizes)

    def _reduced(self, name: ReducedName, knobs: Fp16 | Bf16, sizes: Mapping[str, int]) -> None:
        made = self._made(name, sizes)
        if not self._converted(knobs):
            self._export(f"export {made}", knobs.method, sizes, name, knobs.keep_io_types)
            self._simplify(name, f"export {made}", sizes)
            return
        options = (
            self._file(name, sizes), name, knobs.keep_io_types, knobs.disable_shape_infer,
            _set(knobs.op_block_list), _set(knobs.node_block_list) or (),
            getattr(knobs, "min_positive_val", None),
            getattr(knobs, "max_finite_val", None), self.listed,
        )  # fmt: skip
        if knobs.method not in ("mixed", "auto"):
            self._add(Action(made, Half(*options), {"model": self._made("fp32", sizes)}), sizes)
            return
        proof = self._proof(name, sizes, knobs.tolerance, knobs.keep_io_types)
        needs = {"model": self._made("fp32", sizes), "reference": REFERENCE}
        mixed = Mixed(*options, knobs.method, proof)
        self._add(Action(made, mixed, needs, discovers=proof.function is not None), sizes)

    def _static(self, precision: str, sizes: Mapping[str, int]) -> None:
        recipe = self.recipe
        name = self._made(precision, sizes)
        step = Static(
            self._file(precision, sizes), dict(sizes), recipe.simplify, recipe.constant_folding,
            self.listed,
        )  # fmt: skip
        self._add(Action(name, step, {"model": precision}), sizes)
        asked = getattr(recipe.precision, precision)
        self._onnx(name, precision, sizes, asked.tolerance, getattr(asked, "keep_io_types", True))

    def _onnx(
        self, action: str, precision: str, sizes: Mapping[str, int], tolerance: Any, keep: bool
    ) -> None:
        """The artifact that ``action`` makes, and its proof."""
        proof = f"verify {action}"
        step = self._proof(precision, sizes, tolerance, keep)
        needs = {"model": action, "reference": REFERENCE}
        self._add(Action(proof, step, needs, discovers=step.asks_code), sizes)
        axes = {a.name: sizes[a.name] for a in self.axes if a.name in sizes}
        self.artifacts.append(Artifact(self._file(precision, sizes), "onnx", precision, axes, action, proof))

    def _proof(self, precision: str, sizes: Mapping[str, int], tolerance: Any, keep: bool) -> Verify:
        return Verify(
            filename=self._file(precision, sizes),
            precision=precision,
            inputs=tuple(s.pinned(sizes) for s in self.specs),
            sizes=dict(sizes),
            rows=None if sizes else len(self.rows),
            tolerance=Tolerance.of(tolerance.model_dump(exclude_none=True)).filled(precision),
            keep_io_types=keep,
            function=self.recipe.verify.function,
            source=self._source,
            model=self.source if precision == "fp32" else None,
        )

    @property
    def _source(self) -> str:
        return "the ONNX source" if self.recipe.model.onnx else "PyTorch"

    def _engine(self, engine: Engine) -> None:
        recipe, sizes = self.recipe, engine.variant
        model = self._made(engine.precision, sizes)
        action = f"{model}.{engine.backend}"
        filename = f"{recipe.name}.{action}.engine"
        free = [a for a in self.axes if a.name not in sizes]
        profiles = tuple(
            tuple((a.name, _range(profile.get(a.name, a))) for a in free)
            for profile in (engine.profiles or ({},))
        )
        step = ENGINES[engine.backend](
            filename=filename,
            inputs=tuple((s.name, s.pinned(sizes).shape) for s in self.specs),
            profiles=profiles if free else (),
            targets=engine.targets,
            optimization_level=engine.builder.optimization_level,
            workspace=engine.builder.workspace,
            tf32=engine.builder.tf32,
        )
        self._add(Action(action, step, {"model": model}, gates=(f"verify {model}",)), sizes)
        axes = {a.name: sizes[a.name] for a in self.axes if a.name in sizes}
        proof = None
        if self.gpu and step.runs_on(self.gpu):
            proof = f"verify {action}"
            asked = getattr(recipe.precision, engine.precision)
            check = VerifyEngine(
                filename, engine.precision, tuple(s.pinned(sizes) for s in self.specs),
                dict(sizes), None,
                Tolerance.of(asked.tolerance.model_dump(exclude_none=True)).filled(engine.precision),
                function=recipe.verify.function, source=self._source,
                model=self.source if engine.precision == "fp32" else None, backend=engine.backend,
                onnx=self._file(engine.precision, sizes), profiles=step.profiles,
            )  # fmt: skip
            needs = {"model": action, "onnx": model, "reference": REFERENCE}
            self._add(Action(proof, check, needs, discovers=check.asks_code), sizes)
        self.artifacts.append(
            Artifact(filename, "engine", engine.precision, axes, action, proof, engine.backend)
        )

    def _made(self, precision: str, sizes: Mapping[str, int]) -> str:
        """The action that makes this ONNX file."""
        return f"{precision}.{self.recipe.variant_suffix(sizes)}" if sizes else precision

    def _file(self, precision: str, sizes: Mapping[str, int]) -> str:
        return f"{self.recipe.name}.{self._made(precision, sizes)}.onnx"

    def _add(self, action: Action, sizes: Mapping[str, int]) -> None:
        self.actions.append(replace(action, variant=self.recipe.variant_suffix(sizes)))


def _source(recipe: Recipe) -> ModelSource | None:
    model = recipe.model
    if model.import_ is None:
        return None
    weights: str | Weights | None = None
    if model.weights is not None:  # a file alone is told as what it is, in reasons as in recipes
        weights = Weights(**model.weights.model_dump())
        weights = weights if weights != Weights(weights.file) else weights.file
    return ModelSource(model.import_, tuple(model.args), dict(model.kwargs), weights, model.files, model.seed)


def _set(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """In one order: another order in the recipe is not another result."""
    return None if names is None else tuple(sorted(set(names)))


def _range(axis: Any) -> tuple[int, int, int]:
    return (axis.min, axis.opt, axis.max)
