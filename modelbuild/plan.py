"""Recipe -> actions: what there is to do, what needs what, and which files come out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelbuild.recipe.schema import Bf16, Engine, Fp16, Recipe, Reduced, ReducedName
from modelbuild.steps.adopt import Adopt, AdoptedReference
from modelbuild.steps.base import ModelStep, Step
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
from modelbuild.tensors import Axis, sampled_sizes, traced_sizes
from modelbuild.tolerance import Tolerance


@dataclass(frozen=True)
class Action:
    """A step with its place in the graph.

    ``needs`` maps a role of the step's input to the action whose files it gets; ``gates`` are
    actions that must have succeeded although their files are not read. ``folders`` are inputs that
    no action makes. An action that ``discovers`` reads files by itself, which are traced.
    """

    id: str
    step: Step
    needs: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    folders: Mapping[str, Path] = field(default_factory=dict)
    discovers: bool = False
    remembered: bool = True  # looked up in the ledger and recorded in it

    @property
    def beside_model(self) -> bool:
        return isinstance(self.step, ModelStep)

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


@dataclass(frozen=True)
class Plan:
    recipe: Recipe
    actions: tuple[Action, ...]  # in an order that respects ``before``
    artifacts: tuple[Artifact, ...]
    source: ModelSource | None  # None: an ONNX file, no PyTorch

    def only(self, wanted: Callable[[Artifact], bool]) -> Plan:
        """The plan for some of the artifacts: they, and what they need."""
        artifacts = tuple(a for a in self.artifacts if wanted(a))
        needed = {i for a in artifacts for i in (a.action, a.proof) if i}
        for action in reversed(self.actions):
            if action.id in needed:
                needed.update(action.before)
        return replace(self, artifacts=artifacts, actions=tuple(a for a in self.actions if a.id in needed))

    def with_ranges(self) -> Plan:
        """The plan that also measures what the tensors of each half precision model hold.

        Not of its static variants, whose tensors are the same.
        """
        more = tuple(
            Action(
                f"ranges {a.action}",
                Ranges(a.name, a.precision),
                {"model": a.action, "reference": "reference"},
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
            if action.id == "reference":
                actions.append(replace(action, gates=()))
            elif action.id in proofs:
                actions.append(
                    replace(
                        action,
                        needs={"reference": "reference"},
                        gates=(),
                        folders={"model": folder, "onnx": folder},
                        remembered=False,
                    )
                )
        return replace(self, actions=tuple(actions), artifacts=artifacts)


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
        self.rows = sampled_sizes(self.axes, self.traced)
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
            self._export("export", "fp32")
            if self.source is None:
                self._reference()
            self._simplify("fp32", "export")
        if precisions.fp32 is not None:
            self._onnx("fp32", "fp32", {}, precisions.fp32.tolerance, True)
        for name, knobs in precisions.reduced.items():
            self._reduced(name, knobs)
            self._onnx(name, name, {}, knobs.tolerance, knobs.keep_io_types)
        for sizes in recipe.static:
            for precision in precisions.names:
                self._static(precision, sizes)
        for engine in recipe.engines:
            self._engine(engine)
        return Plan(recipe, tuple(self.actions), tuple(self.artifacts), self.source)

    @staticmethod
    def _converted(knobs: Reduced) -> bool:
        """Whether this precision is made from the fp32 graph."""
        return knobs.method not in ("half", "autocast")

    def _reference(self) -> None:
        verify = self.recipe.verify
        rows = list(self.rows)
        for sizes in self.recipe.static:
            free = tuple(a for a in self.axes if a.name not in sizes)
            for row in sampled_sizes(free, self.traced):
                pinned = {a.name: {**row, **sizes}[a.name] for a in self.axes}
                if pinned not in rows:
                    rows.append(pinned)
        sampling = Sampling(self.specs, self.axes, tuple(rows), verify.samples, verify.seed, verify.data)
        if self.source is not None:
            self._add(Action("reference", Reference(self.source, sampling), discovers=True))
            return
        # What is wrong with the file's interface is told once, by the action that adopts it.
        step = AdoptedReference(str(self.recipe.model.onnx), sampling)
        self._add(Action("reference", step, gates=("export",), discovers=True))

    def _export(
        self, name: str, precision: Any, dtype: ReducedName = "fp16", keep_io_types: bool = True
    ) -> None:
        recipe = self.recipe
        step: Step
        if self.source is None:
            step = Adopt(str(recipe.model.onnx), self.specs, recipe.outputs, recipe.opset)
        else:
            step = Export(
                self.source, self.specs, recipe.outputs, self.traced,
                {a.name: (a.min, a.max) for a in self.axes}, recipe.effective_opset,
                recipe.exporter, recipe.constant_folding, precision, dtype, keep_io_types,
                recipe.initializer_names or (),
            )  # fmt: skip
        self._add(Action(name, step, discovers=True))

    def _simplify(self, precision: str, source: str) -> None:
        recipe = self.recipe
        done = recipe.exporter == "torchscript" or self.source is None  # by itself; or nobody asked for it
        folding = recipe.constant_folding and (recipe.simplify or not done)
        step = Simplify(self._file(precision, {}), recipe.simplify, folding, self.listed)
        self._add(Action(precision, step, {"model": source}))

    def _reduced(self, name: ReducedName, knobs: Fp16 | Bf16) -> None:
        if not self._converted(knobs):
            self._export(f"export {name}", knobs.method, name, knobs.keep_io_types)
            self._simplify(name, f"export {name}")
            return
        options = (
            self._file(name, {}), name, knobs.keep_io_types, knobs.disable_shape_infer,
            _set(knobs.op_block_list), _set(knobs.node_block_list) or (),
            getattr(knobs, "min_positive_val", None),
            getattr(knobs, "max_finite_val", None), self.listed,
        )  # fmt: skip
        if knobs.method not in ("mixed", "auto"):
            self._add(Action(name, Half(*options), {"model": "fp32"}))
            return
        proof = self._proof(name, {}, knobs.tolerance, knobs.keep_io_types)
        needs = {"model": "fp32", "reference": "reference"}
        mixed = Mixed(*options, knobs.method, proof)
        self._add(Action(name, mixed, needs, discovers=proof.function is not None))

    def _static(self, precision: str, sizes: Mapping[str, int]) -> None:
        recipe = self.recipe
        name = f"{precision}.{recipe.variant_suffix(sizes)}"
        step = Static(
            self._file(precision, sizes), dict(sizes), recipe.simplify, recipe.constant_folding,
            self.listed,
        )  # fmt: skip
        self._add(Action(name, step, {"model": precision}))
        asked = getattr(recipe.precision, precision)
        self._onnx(name, precision, sizes, asked.tolerance, getattr(asked, "keep_io_types", True))

    def _onnx(
        self, action: str, precision: str, sizes: Mapping[str, int], tolerance: Any, keep: bool
    ) -> None:
        """The artifact that ``action`` makes, and its proof."""
        proof = f"verify {action}"
        step = self._proof(precision, sizes, tolerance, keep)
        needs = {"model": action, "reference": "reference"}
        self._add(Action(proof, step, needs, discovers=step.asks_code))
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
        suffix = f".{recipe.variant_suffix(sizes)}" if sizes else ""
        model = f"{engine.precision}{suffix}"
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
        self._add(Action(action, step, {"model": model}, gates=(f"verify {model}",)))
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
            needs = {"model": action, "onnx": model, "reference": "reference"}
            self._add(Action(proof, check, needs, discovers=check.asks_code))
        self.artifacts.append(
            Artifact(filename, "engine", engine.precision, axes, action, proof, engine.backend)
        )

    def _file(self, precision: str, sizes: Mapping[str, int]) -> str:
        suffix = f".{self.recipe.variant_suffix(sizes)}" if sizes else ""
        return f"{self.recipe.name}.{precision}{suffix}.onnx"

    def _add(self, action: Action) -> None:
        self.actions.append(action)


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
