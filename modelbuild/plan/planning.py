"""Recipe -> plan: which actions there are, and with which knobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelbuild.base.tensors import Axis, TensorSpec, distinct, sampled_sizes, traced_sizes
from modelbuild.plan.actions import REFERENCE, Action, Artifact, Plan
from modelbuild.plan.precisions import FP32, Precision, Quantization, precisions
from modelbuild.recipe.problems import Route
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.engines import Engine
from modelbuild.steps.adopt import Adopt, AdoptedReference
from modelbuild.steps.calibrate import Calibrate
from modelbuild.steps.checkpoints import Weights
from modelbuild.steps.engine import ENGINES, BuildEngine
from modelbuild.steps.export import Export
from modelbuild.steps.half import Half
from modelbuild.steps.mixed import Mixed
from modelbuild.steps.model import ModelSource
from modelbuild.steps.quantize import Quantize
from modelbuild.steps.reference import Reference, Sampling
from modelbuild.steps.simplify import Simplify
from modelbuild.steps.static import Static
from modelbuild.steps.verify import Verify
from modelbuild.steps.verify_engine import VerifyEngine
from modelbuild.steps.verify_quantized import VerifyQuantized


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
        self.precisions = precisions(recipe)
        self.base = next((p for p in self.precisions if p.name == "fp32"), FP32)
        self.listed = recipe.initializer_names or recipe.keep_initializers_as_inputs

    def plan(self) -> Plan:
        recipe = self.recipe
        if self.source is not None:
            self._reference()
        if self._is_based:
            self._export("export", self.base, {})
            if self.source is None:
                self._reference()
            self._simplify(self.base, "export", {})
        for precision in self.precisions:
            self._made_of_base(precision, {})
            self._onnx(precision, {})
        exported = recipe.static_by == "export" and self.source is not None
        for sizes in recipe.static:
            if exported:
                self._exported_variant(sizes)
                continue
            for precision in self.precisions:
                self._static(precision, sizes)
        for number, engine in enumerate(recipe.engines):
            self._engine(engine, ("engines", number))
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
        if self._is_based:
            export = f"export {self._made(self.base, sizes)}"
            self._export(export, self.base, sizes)
            self._simplify(self.base, export, sizes)
        for precision in self.precisions:
            self._made_of_base(precision, sizes)
            self._onnx(precision, sizes)

    @property
    def _is_based(self) -> bool:
        """Whether there is an fp32 graph: asked for, or to be converted."""
        return self.base in self.precisions or not all(p.is_exported for p in self.precisions)

    def _reference(self) -> None:
        rows = distinct(row for sizes in ({}, *self.recipe.static) for row in self._rows(sizes))
        self._add(self._running(REFERENCE, self.axes, rows), {}, self._model)

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
        return replace(running, variant=variant, about=self._asked(self._model, sizes))

    def _running(self, name: str, axes: tuple[Axis, ...], rows: Sequence[Mapping[str, int]]) -> Action:
        verify = self.recipe.verify
        sampling = Sampling(
            inputs=self.specs,
            axes=axes,
            rows=tuple(rows),
            samples=verify.samples,
            seed=verify.seed,
            data=verify.data,
        )
        if self.source is not None:
            return Action(name, Reference(source=self.source, sampling=sampling), discovers=True)
        # What is wrong with the file's interface is told once, by the action that adopts it.
        step = AdoptedReference(path=str(self.recipe.model.onnx), sampling=sampling)
        return Action(name, step, gates=("export",), discovers=True)

    def _export(self, name: str, precision: Precision, sizes: Mapping[str, int]) -> None:
        # What the model does not take at a variant's sizes is told once, by the run of PyTorch.
        gates = (REFERENCE,) if sizes else ()
        step = self._adopting() if self.source is None else self._exporting(self.source, precision, sizes)
        about = ("precision", precision.name) if precision.method else self._model
        self._add(Action(name, step, gates=gates, discovers=True), sizes, self._asked(about, sizes))

    def _adopting(self) -> Adopt:
        recipe = self.recipe
        return Adopt(
            path=str(recipe.model.onnx), inputs=self.specs, outputs=recipe.outputs, opset=recipe.opset
        )

    def _exporting(self, source: ModelSource, precision: Precision, sizes: Mapping[str, int]) -> Export:
        recipe = self.recipe
        free = [a for a in self.axes if a.name not in sizes]
        specs = self._specs(sizes)
        fixed = {d for s in specs for d in s.shape if isinstance(d, int)}
        export = Export(
            source=source,
            inputs=specs,
            outputs=recipe.outputs,
            traced=traced_sizes(free, fixed),
            ranges={a.name: (a.min, a.max) for a in free},
            opset=recipe.effective_opset,
            exporter=recipe.exporter,
            constant_folding=recipe.constant_folding,
            initializer_names=recipe.initializer_names or (),
        )
        method, name = precision.method, precision.name
        if name == "fp32" or name == "int8" or method not in ("half", "autocast"):
            return export
        return replace(export, precision=method, dtype=name, keep_io_types=precision.keep_io_types)

    def _simplify(self, precision: Precision, source: str, sizes: Mapping[str, int]) -> None:
        recipe = self.recipe
        done = recipe.exporter == "torchscript" or self.source is None  # by itself; or nobody asked for it
        step = Simplify(
            filename=self._file(precision, sizes),
            enabled=recipe.simplify,
            constant_folding=recipe.constant_folding and (recipe.simplify or not done),
            keep_initializers_as_inputs=self.listed,
        )
        self._add_file(precision, Action(self._made(precision, sizes), step, {"model": source}), sizes)

    def _made_of_base(self, precision: Precision, sizes: Mapping[str, int]) -> None:
        """What makes the file of a precision, beside the fp32 graph, which is there."""
        made = self._made(precision, sizes)
        if precision.name == "fp32":
            return
        if precision.is_exported:
            self._export(f"export {made}", precision, sizes)
            self._simplify(precision, f"export {made}", sizes)
            return
        if precision.quantization is not None:
            self._quantized(precision, precision.quantization, sizes)
            return
        half = self._half(precision, self._file(precision, sizes))
        needs = {"model": self._made(self.base, sizes)}
        if precision.search is None:
            self._add_file(precision, Action(made, half, needs), sizes)
            return
        searched = Mixed(**vars(half), method=precision.search, proof=self._proof(precision, sizes))
        needs["reference"] = REFERENCE
        discovers = searched.proof.function is not None
        self._add_file(precision, Action(made, searched, needs, discovers=discovers), sizes)

    def _quantized(self, precision: Precision, asked: Quantization, sizes: Mapping[str, int]) -> None:
        """int8 out of the fp32 graph, with the ranges that its tensors take."""
        made, model = self._made(precision, sizes), self._made(self.base, sizes)
        calibration = f"calibrate {self.recipe.variant_suffix(sizes)}".strip()
        about = ("precision", "int8", "calibration")
        sampling = Sampling(
            inputs=self.specs,
            axes=tuple(a for a in self.axes if a.name not in sizes),
            rows=tuple(self._rows(sizes)),
            samples=asked.samples,
            seed=self.recipe.verify.seed,
            data=asked.data,
        )
        step = Calibrate(
            sampling=sampling, method=asked.ranges, op_types=asked.op_types, apart=self.recipe.verify.data
        )
        self._add(Action(calibration, step, {"model": model}, discovers=True), sizes, about)
        proof = self._proof(precision, sizes) if precision.method == "auto" else None
        quantize = Quantize(
            filename=self._file(precision, sizes),
            op_types=asked.op_types,
            op_block_list=precision.op_block_list or (),
            node_block_list=precision.node_block_list,
            per_channel=asked.per_channel,
            reduce_range=asked.reduce_range,
            keep_initializers_as_inputs=self.listed,
            half=None if asked.half is None else self._half(asked.half, self._file(precision, sizes)),
            proof=proof,
        )
        needs = {"model": model, "ranges": calibration, "reference": REFERENCE}
        discovers = proof is not None and proof.function is not None
        self._add_file(precision, Action(made, quantize, needs, discovers=discovers), sizes)

    def _half(self, precision: Precision, filename: str) -> Half:
        assert precision.name == "fp16" or precision.name == "bf16"
        return Half(
            filename=filename,
            dtype=precision.name,
            keep_io_types=precision.keep_io_types,
            disable_shape_infer=precision.disable_shape_infer,
            op_block_list=precision.op_block_list,
            node_block_list=precision.node_block_list,
            min_positive_val=precision.min_positive_val,
            max_finite_val=precision.max_finite_val,
            keep_initializers_as_inputs=self.listed,
        )

    def _static(self, precision: Precision, sizes: Mapping[str, int]) -> None:
        step = Static(
            filename=self._file(precision, sizes),
            sizes=dict(sizes),
            simplify=self.recipe.simplify,
            constant_folding=self.recipe.constant_folding,
            keep_initializers_as_inputs=self.listed,
        )
        made = Action(self._made(precision, sizes), step, {"model": precision.name})
        self._add_file(precision, made, sizes)
        self._onnx(precision, sizes)

    def _onnx(self, precision: Precision, sizes: Mapping[str, int]) -> None:
        """The artifact that the action of this precision makes, and its proof."""
        made = self._made(precision, sizes)
        proof = f"verify {made}"
        step = self._proof(precision, sizes)
        needs = {"model": made, "reference": REFERENCE}
        about = ("precision", precision.name, "tolerance")
        self._add(Action(proof, step, needs, discovers=step.asks_code), sizes, about)
        self.artifacts.append(
            Artifact(
                name=self._file(precision, sizes),
                kind="onnx",
                precision=precision.name,
                axes=self._pinned(sizes),
                action=made,
                proof=proof,
            )
        )

    def _proof(self, precision: Precision, sizes: Mapping[str, int]) -> Verify:
        if precision.quantization is not None:
            base = "fp32" if precision.quantization.half is None else "fp16"
            return VerifyQuantized(**self._compared(precision, sizes), base=base)
        return Verify(**self._compared(precision, sizes))

    def _compared(self, precision: Precision, sizes: Mapping[str, int]) -> dict[str, Any]:
        return {
            "filename": self._file(precision, sizes),
            "precision": precision.name,
            "inputs": self._specs(sizes),
            "sizes": dict(sizes),
            "rows": None if sizes else len(self.rows),
            "tolerance": precision.tolerance,
            "keep_io_types": precision.keep_io_types,
            "function": self.recipe.verify.function,
            "source": self._source,
            "model": self.source if precision.name == "fp32" else None,
        }

    @property
    def _source(self) -> str:
        return "the ONNX source" if self.recipe.model.onnx else "PyTorch"

    def _specs(self, sizes: Mapping[str, int]) -> tuple[TensorSpec, ...]:
        """The inputs, where these axes are pinned."""
        return tuple(s.pinned(sizes) for s in self.specs)

    def _pinned(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """The pinned axes, in the order of the recipe's axes."""
        return {a.name: sizes[a.name] for a in self.axes if a.name in sizes}

    def _engine(self, engine: Engine, about: Route) -> None:
        sizes = engine.variant
        (precision,) = (p for p in self.precisions if p.name == engine.precision)
        model = self._made(precision, sizes)
        action = f"{model}.{engine.backend}"
        step = self._building(engine, f"{self.recipe.name}.{action}.engine")
        self._add(Action(action, step, {"model": model}, gates=(f"verify {model}",)), sizes, about)
        proof = None
        if self.gpu and step.runs_on(self.gpu):
            proof = f"verify {action}"
            check = self._engine_proof(step, engine.backend, precision, sizes)
            needs = {"model": action, "onnx": model, "reference": REFERENCE}
            self._add(Action(proof, check, needs, discovers=check.asks_code), sizes, about)
        self.artifacts.append(
            Artifact(
                name=step.filename,
                kind="engine",
                precision=precision.name,
                axes=self._pinned(sizes),
                action=action,
                proof=proof,
                backend=engine.backend,
            )
        )

    def _building(self, engine: Engine, filename: str) -> BuildEngine:
        sizes = engine.variant
        free = [a for a in self.axes if a.name not in sizes]
        profiles = tuple(
            tuple((a.name, _range(profile.get(a.name, a))) for a in free)
            for profile in (engine.profiles or ({},))
        )
        return ENGINES[engine.backend](
            filename=filename,
            inputs=tuple((s.name, s.shape) for s in self._specs(sizes)),
            profiles=profiles if free else (),
            targets=engine.targets,
            optimization_level=engine.builder.optimization_level,
            workspace=engine.builder.workspace,
            tf32=engine.builder.tf32,
        )

    def _engine_proof(
        self, step: BuildEngine, backend: str, precision: Precision, sizes: Mapping[str, int]
    ) -> VerifyEngine:
        return VerifyEngine(
            filename=step.filename,
            precision=precision.name,
            inputs=self._specs(sizes),
            sizes=dict(sizes),
            rows=None,
            tolerance=precision.tolerance,
            function=self.recipe.verify.function,
            source=self._source,
            model=self.source if precision.name == "fp32" else None,
            backend=backend,
            onnx=self._file(precision, sizes),
            profiles=step.profiles,
        )

    def _made(self, precision: Precision, sizes: Mapping[str, int]) -> str:
        """The action that makes this ONNX file."""
        return f"{precision.name}.{self.recipe.variant_suffix(sizes)}" if sizes else precision.name

    def _file(self, precision: Precision, sizes: Mapping[str, int]) -> str:
        return f"{self.recipe.name}.{self._made(precision, sizes)}.onnx"

    def _add_file(self, precision: Precision, action: Action, sizes: Mapping[str, int]) -> None:
        """Add the action that makes the file of a precision."""
        self._add(action, sizes, self._asked(("precision", precision.name), sizes))

    def _add(self, action: Action, sizes: Mapping[str, int], about: Route) -> None:
        self.actions.append(replace(action, variant=self.recipe.variant_suffix(sizes), about=about))

    def _asked(self, about: Route, sizes: Mapping[str, int]) -> Route:
        """The part of the recipe that a file is asked for by: a variant's is its own entry."""
        return ("static", self.recipe.static.index(dict(sizes))) if sizes else about

    @property
    def _model(self) -> Route:
        return ("model", "onnx" if self.source is None else "import")


def _source(recipe: Recipe) -> ModelSource | None:
    model = recipe.model
    if model.import_ is None:
        return None
    weights: str | Weights | None = None
    if model.weights is not None:  # a file alone is told as what it is, in reasons as in recipes
        weights = Weights(**model.weights.model_dump())
        weights = weights if weights != Weights(weights.file) else weights.file
    return ModelSource(
        import_=model.import_,
        args=tuple(model.args),
        kwargs=dict(model.kwargs),
        weights=weights,
        files=model.files,
        seed=model.seed,
    )


def _range(axis: Any) -> tuple[int, int, int]:
    return (axis.min, axis.opt, axis.max)
