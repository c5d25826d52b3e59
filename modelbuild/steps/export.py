"""PyTorch -> ONNX, with exactly the recipe's interface and nothing of the machine it ran on."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, ModelbuildError, Refusal, StepError
from modelbuild.base.telling import tell
from modelbuild.base.tensors import Sizes, TensorSpec
from modelbuild.graph import sources
from modelbuild.machine.isolate import in_child
from modelbuild.steps import failures, forms, scripts
from modelbuild.steps.base import ModelStep, Outcome
from modelbuild.steps.binding import bind, dynamic_shapes
from modelbuild.steps.model import LiveModel, ModelSource

if TYPE_CHECKING:
    import torch

    from modelbuild.graph import files
    from modelbuild.steps import eager
    from modelbuild.steps.state import Snapshot

FILE = "model.onnx"
DYNAMO_FROM = 18
"""The lowest opset that the dynamo exporter writes: asked for less, it mostly returns this."""


@dataclass(frozen=True, kw_only=True)
class Export(ModelStep):
    """Export the model at ``traced`` sizes, with its weights in one file beside the graph.

    ``precision`` says what is exported: the model as it is, ``model.half()``, or the model under
    autocast; the half is ``dtype``. With ``keep_io_types`` a half-precision graph still takes and
    returns what the recipe says; without, float inputs and outputs are half, too.
    """

    source: ModelSource
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] | None
    traced: Mapping[str, int]
    ranges: Mapping[str, tuple[int, int]]  # of each axis: its smallest and its largest size
    opset: int
    exporter: Literal["auto", "dynamo", "torchscript"]
    constant_folding: bool
    precision: Literal["fp32", "half", "autocast"] = "fp32"
    dtype: Literal["fp16", "bf16"] = "fp16"
    keep_io_types: bool = True
    initializer_names: tuple[str, ...] = ()  # for the weights, which nothing may fold then

    kind: ClassVar[str] = "export"
    version: ClassVar[int] = 11
    packages: ClassVar[tuple[str, ...]] = (
        "torch", "onnx", "onnxscript", "onnx_ir", "onnxruntime", "safetensors", "numpy",
    )  # fmt: skip

    def knobs(self) -> dict[str, Any]:
        found = super().knobs()
        return (
            found if self.initializer_names else {k: v for k, v in found.items() if k != "initializer_names"}
        )

    def declared(self, base: Path) -> tuple[Path, ...]:
        return self.source.declared(base)

    def run_beside(self, model: LiveModel, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``model.onnx`` and ``model.onnx.data``.

        The exporter's own optimiser is off: it drops small constants (an eps of 1e-12 is gone and
        a zero row gives NaN), and onnxsim does the rest of its work.

        Raises:
            Refusal: baked-axis, stateful-reference; or export-failed, over sizes that vary.
            StepError: export-failed, outputs-mismatch, inputs-mismatch, opset-mismatch.
        """
        try:
            return self._made(model, out)
        except StepError as error:
            data = dict(error.data)
            made = self._made_there(data.pop("wrong at", {}), model, out)
            if made is not None:
                return made
            if self.ranges and any(d.code == "baked-axis" for d in error.diagnostics):
                raise Refusal(error.diagnostics, data) from error
            raise

    def _made_there(self, sizes: Sizes, model: LiveModel, out: Path) -> Outcome | None:
        """The graph of the sizes at which that of ``traced`` is wrong; None where it is no better.

        What pads to a multiple is traced without the padding at a multiple, and with padding that may
        be none beside it.
        """
        if not sizes or min(sizes.values()) < 2 or len(set(sizes.values())) < len(sizes):
            return None
        other = replace(self, traced=dict(sizes))
        tell(f"the graph that is traced at {self._at()} is wrong at {other._at()}; tracing there")
        try:
            return other._made(model, out)
        except ModelbuildError as second:
            passing.met(second)
            return None

    def _made(self, model: LiveModel, out: Path) -> Outcome:
        import torch

        from modelbuild.graph import files, interface, named_weights, opset
        from modelbuild.graph.autocast import with_one_type_per_node
        from modelbuild.graph.edges import with_edge_types
        from modelbuild.graph.sequences import without_split_sequences
        from modelbuild.graph.types import ELEM_TYPES
        from modelbuild.steps import branches, concrete, eager, guards, paths, programs, samples, tracing
        from modelbuild.steps.state import Snapshot

        gc.disable()  # a tenth of the time of tracing; the process ends with the step
        scripted = scripts.is_script(model.module)
        writer, chosen = self._writer(scripted)
        if scripted:
            scripts.must_be_exportable(writer, self.opset, self.precision)
        values = samples.random_inputs(self.inputs, self.traced, (0, 1))
        tensors = self._tensors(values)
        full = samples.as_tensors(values)
        model.finish([s.name for s in self.inputs], full)
        tried = self._tried(model, tensors, full)
        said = eager.kept(model, self.inputs, self.traced, self.ranges, tried.changed, tried.plain)
        casting = self._prepared(model.module)
        fresh = Snapshot.of(model.module)
        recording = guards.recorded()
        watched = concrete.while_traced(len(tensors)) if writer == "torchscript" else concrete.nothing()
        with (
            torch.set_grad_enabled(model.gradients), casting, programs.reworded(),
            recording as assumed, watched as spots,
        ):  # fmt: skip
            graph = self._exported_graph(writer, model, tensors, out, tried, fresh)
        fresh.restore()
        unproven: list[str] = []
        if writer == "torchscript" and self.ranges:
            with self._casting():
                found = tracing.assumptions(model, self.inputs, tensors)
            fresh.restore()
            assumed += found or []
            if found is None:
                why = "knows nothing of TorchScript" if scripted else "cannot trace this model"
                unproven.append(f"sizes between those compared: torch.export {why}")
        interface.set_initializers_as_inputs(graph, False)
        without_split_sequences(graph)
        lines = sources.compact(interface.traces(graph.proto), model.base, Path(torch.__file__).parent)
        interface.strip(graph.proto)
        if writer == "dynamo":
            failures.must_be_computed(graph.proto)
        if graph.opset != self.opset:
            raise self._opset_mismatch(writer, graph.opset)
        if self.precision == "autocast":
            graph = with_one_type_per_node(graph)
        raised: tuple[Diagnostic, ...] = ()
        if self._exported == "bf16":
            graph, raised = opset.raised(graph, ELEM_TYPES[self.dtype])
        said += interface.settle(graph, self.inputs, self.outputs, tried.labels)
        if self.initializer_names:
            named_weights.name(graph, _state_names(model.module), self.initializer_names)
        if self.precision != "fp32":
            graph = with_edge_types(graph, self._edges(graph))
        files.write(graph, out / FILE, external=True)
        names = [o.name for o in graph.proto.graph.output]
        del graph  # the exporter's own files are mapped
        for leftover in out.iterdir():
            if leftover.name not in (FILE, FILE + ".data"):
                leftover.unlink()
        exported = paths.Exported(
            model, self.inputs, self._tensors, self.ranges, self.traced, out / FILE, self._exported
        )
        try:
            told, one_sided = branches.judged(exported, spots)
            unproven += [*one_sided, *paths.compared(exported, assumed)]
        except StepError:
            fresh.restore()
            raise
        return Outcome(
            (*chosen, *raised, *said, *told), {"outputs": names, "sources": lines, "not_proven": unproven}
        )

    @property
    def _exported(self) -> str:
        """The precision of the graph, by its name in a recipe."""
        return "fp32" if self.precision == "fp32" else self.dtype

    @property
    def _half(self) -> str:
        """The method of a PyTorch module that makes it half."""
        return {"fp16": "half", "bf16": "bfloat16"}[self.dtype]

    @property
    def _torch_dtype(self) -> torch.dtype:
        import torch

        return {"fp16": torch.float16, "bf16": torch.bfloat16}[self.dtype]

    def _tensors(self, arrays: dict[str, Any]) -> list[torch.Tensor]:
        """What the module takes that is exported."""
        from modelbuild.steps import samples

        tensors = samples.as_tensors(arrays)
        if self.precision != "half":
            return tensors
        return [t.to(self._torch_dtype) if t.is_floating_point() else t for t in tensors]

    def _prepared(self, module: torch.nn.Module) -> AbstractContextManager[Any]:
        """Make it what is exported: in half, for good; under autocast, within what is returned."""
        if self.precision == "half":
            getattr(module, self._half)()
        return self._casting()

    def _tried(
        self, model: LiveModel, tensors: Sequence[torch.Tensor], full: Sequence[torch.Tensor]
    ) -> eager.Tried:
        """The call before the export.

        Raises:
            Refusal: export-failed, and not for the precision: the model takes these sizes in none.
            StepError: export-failed.
        """
        from modelbuild.steps import eager

        names = [s.name for s in self.inputs]

        def refused(error: BaseException) -> StepError:
            return self._refused(error, model)

        try:
            return eager.tried(model, names, tensors, self._prepared, refused)
        except StepError as error:
            if self.ranges and (self.precision == "fp32" or not eager.runs(model, names, full)):
                raise Refusal(error.diagnostics, {**error.data, "lasting": False}) from error
            raise

    def _refused(self, error: BaseException, model: LiveModel) -> StepError:
        how = {"fp32": "forward()", "half": f"model.{self._half}()", "autocast": "autocast"}
        hint = "the recipe's shapes, dtypes and values must suit forward()"
        if self.precision == "fp32":
            hint = forms.hint_of_half(model.module, error) or hint
        else:
            other = "auto or autocast" if self.precision == "half" else "auto"
            hint = f"a dtype written into forward()? try another method: {other}"
        said = f"{how[self.precision]} fails in PyTorch itself, at {self._at()}"
        return StepError(*failures.of_forward("export-failed", said, error, hint, model.base))

    def _exported_graph(
        self,
        writer: str,
        model: LiveModel,
        tensors: Sequence[torch.Tensor],
        out: Path,
        tried: eager.Tried,
        fresh: Snapshot,
    ) -> files.Model:
        """What the exporter makes of a fresh model; where it fails, of one that keeps what a call leaves.

        Raises:
            Refusal: export-failed, where torch.export takes the model with all its sizes fixed.
            StepError: export-failed, baked-axis.
        """
        from modelbuild.steps import tracing

        try:
            return self._export(writer, model.module, tensors, out, tried.places)
        except Exception as error:
            if tried.changed:
                passing.met(error)
                with passing.gone_on_after():
                    fresh.restore()
                    model.forward([s.name for s in self.inputs], tensors)
                    return self._export(writer, model.module, tensors, out, tried.places)
            hint = scripts.hint if scripts.is_script(model.module) else None
            is_program = forms.made_with(model.module) is not None
            failed = failures.of_exporter(writer, error, self.inputs, self._at(), hint, is_program)
            if self.ranges and failures.of_capture(error):
                passing.met(error)
                with passing.gone_on_after():
                    fresh.restore()
                if tracing.takes(model, self.inputs, tensors):
                    raise Refusal(failed.diagnostics, failed.data) from error
            raise failed from error

    def _casting(self) -> AbstractContextManager[Any]:
        import torch

        return torch.autocast("cpu", self._torch_dtype, enabled=self.precision == "autocast")

    def _writer(self, scripted: bool = False) -> tuple[str, tuple[Diagnostic, ...]]:
        """Which exporter writes the file, and what to say where that is not the usual one."""
        if scripted:
            why = "the model is TorchScript, which the dynamo exporter does not take"
        elif self.opset < DYNAMO_FROM:
            why = f"the recipe asks for opset {self.opset}, and the dynamo exporter begins at {DYNAMO_FROM}"
        else:
            why = ""
        if self.exporter != "auto" or not why:
            return self.exporter if self.exporter != "auto" else "dynamo", ()
        said = f"the torchscript exporter writes this file: {why}"
        hint = "`exporter: torchscript` in the recipe says the same"
        return "torchscript", (Diagnostic("exporter-chosen", said, hint, level="info"),)

    def _export(
        self,
        writer: str,
        module: torch.nn.Module,
        tensors: Sequence[torch.Tensor],
        out: Path,
        places: Sequence[str] = (),
    ) -> files.Model:
        import torch

        from modelbuild.graph import files
        from modelbuild.steps import attention, translations

        names = [s.name for s in self.inputs]
        args, kwargs = bind(module, names, tensors)
        by_position, by_name = bind(module, names, names)
        ordered = [*by_position, *by_name.values()]
        axes = {s.name: {i: d for i, d in enumerate(s.shape) if isinstance(d, str)} for s in self.inputs}
        if writer == "dynamo":
            # String dims keep an axis dynamic, or raise; Dim("batch") is dropped in silence.
            shapes = dynamic_shapes(module, names, [axes[n] or None for n in names])
            program = torch.onnx.export(
                module, args, kwargs=kwargs, dynamo=True, opset_version=self.opset,
                input_names=ordered, dynamic_shapes=shapes, optimize=False, verbose=False,
                custom_translation_table=translations.table(),
            )  # fmt: skip
            assert program is not None
            return _structure(program.model)
        path = out / "torchscript.onnx"
        args = (*args, *kwargs.values())
        spelled_out = attention.spelled_out() if self.opset < attention.WHOLE_FROM else nullcontext()

        def write(what: torch.nn.Module) -> None:
            torch.onnx.export(
                what, args, str(path), dynamo=False, opset_version=self.opset,
                input_names=ordered, dynamic_axes={n: a for n, a in axes.items() if a},
                do_constant_folding=self.constant_folding and not self.initializer_names,
                training=getattr(torch.onnx.TrainingMode, "PRESERVE" if self.initializer_names else "EVAL"),
                keep_initializers_as_inputs=bool(self.initializer_names),  # else equal ones are merged
                verbose=True,  # with lines of the source
            )  # fmt: skip

        if scripts.is_script(module):
            flat = scripts.flat(module, args, list(kwargs), places)
            in_child(lambda: scripts.alone(write, flat)).like_a_call()
        elif hasattr(module, "graph"):  # the exporter would take it for a script's
            with spelled_out:
                write(forms.around(module, list(kwargs)))
        else:
            with _by_position(module, list(kwargs)), spelled_out:
                write(module)
        return files.read(path)

    def _edges(self, graph: Any) -> dict[str, int]:
        """The element type that each input and output shall have."""
        from modelbuild.graph import interface
        from modelbuild.graph.types import ELEM_TYPES

        declared = {s.name: interface.elem_type(s.dtype) for s in self.inputs}
        half, full = ELEM_TYPES[self.dtype], ELEM_TYPES["fp32"]
        wanted = {}
        for port in (*interface.inputs(graph), *interface.outputs(graph)):
            dtype = declared.get(port.name, port.dtype)
            if dtype in (half, full) and port.name not in declared:
                dtype = full
            if dtype == full and not self.keep_io_types:
                dtype = half
            wanted[port.name] = dtype
        return wanted

    def _opset_mismatch(self, writer: str, got: int) -> StepError:
        other = "leave `exporter` out: auto takes the one that writes it" if writer == "dynamo" else ""
        return StepError(
            Diagnostic(
                "opset-mismatch",
                f"the {writer} exporter returned opset {got}, the recipe asks for {self.opset}",
                f"set `opset: {got}`" + (f", or {other}" if other else ""),
            )
        )

    def _at(self) -> str:
        return ", ".join(f"{n}={v}" for n, v in self.traced.items()) or "the recipe's shapes"


def _state_names(module: torch.nn.Module) -> list[str]:
    """What an exporter calls the module's weights, in the order of its state dict."""
    inside = [*module.state_dict(), *(n for n, _ in module.named_buffers(remove_duplicate=False))]
    return [*inside, *(f"model.{n}" for n in inside)]  # as ``scripts.flat`` has them


def _structure(model: Any) -> files.Model:
    """An exporter's model (onnx_ir) with its weights left where they are, in PyTorch's memory."""
    import onnx_ir as ir

    from modelbuild.graph import files

    weights = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor.nbytes <= files.ON_DISK_FROM:
            continue
        shape, dtype = tuple(tensor.shape), tensor.dtype
        weights[name] = files.Weight(int(dtype), shape, tensor.nbytes, tensor.numpy)
        value.const_value = ir.ExternalTensor(
            "weights", 0, tensor.nbytes, dtype, shape=ir.Shape(shape), name=name, base_dir=""
        )
    return files.Model(ir.to_proto(model), weights)


@contextmanager
def _by_position(module: torch.nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Inside, forward() takes these of its parameters, by position; with no names, what it always took.

    torchscript passes every parameter by position, with its default if need be, and those that are
    keyword-only too. The module stays the outermost, and so names the nodes.
    """
    real = module.forward
    if not names or list(inspect.signature(real).parameters) == list(names):
        yield
        return

    def forward(*values: Any) -> Any:
        return real(**dict(zip(names, values, strict=True)))

    own = "forward" in vars(module)
    module.forward = forward
    try:
        yield
    finally:
        if own:
            module.forward = real
        else:
            del module.forward
