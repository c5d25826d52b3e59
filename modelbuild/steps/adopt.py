"""An existing ONNX file as the source: taken over instead of exported, and its own reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, ProofError, StepError, first_line
from modelbuild.base.tensors import TensorSpec
from modelbuild.steps.base import Outcome, Step
from modelbuild.steps.reference import Sampling, record
from modelbuild.steps.repeating import agree

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from modelbuild.graph.files import Model
    from modelbuild.steps.samples import Array


@dataclass(frozen=True, kw_only=True)
class Adopt(Step):
    """Check the file against the recipe and give it the recipe's interface."""

    path: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] | None
    opset: int | None

    kind: ClassVar[str] = "adopt"
    version: ClassVar[int] = 4
    packages: ClassVar[tuple[str, ...]] = ("onnx", "numpy")

    def reads(self, base: Path) -> tuple[Path, ...]:
        return _files(base / self.path)

    def run_at(self, base: Path, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``model.onnx`` and ``model.onnx.data``.

        Raises:
            StepError: unreadable, or opset-mismatch, inputs-mismatch, outputs-mismatch, baked-axis.
        """
        from modelbuild.graph import adoption, files, interface

        model = _read(base / self.path)
        adoption.check(model, self.path, self.inputs)
        adoption.mend(model)
        interface.strip(model.proto)
        _free_negative_dims(model)
        model, raised = self._at_opset(model)
        said = interface.settle(model, self.inputs, self.outputs, keep_names=True)
        files.write(model, out / "model.onnx", external=True)
        return Outcome((*raised, *said), {"outputs": [o.name for o in model.proto.graph.output]})

    def _at_opset(self, model: Model) -> tuple[Model, tuple[Diagnostic, ...]]:
        """The graph at the recipe's opset, if it names one, and what to say of that.

        Raises:
            StepError: ``opset-mismatch``.
        """
        from modelbuild.graph import opset
        from modelbuild.graph.naming import prepared

        if self.opset is None or model.opset == self.opset:
            return model, ()
        asked = f"{self.path} has opset {model.opset}, the recipe asks for {self.opset}"
        hint = f"set `opset: {model.opset}`, or leave it out to keep the file's"
        if self.opset < model.opset:
            said = f"{asked}, and a file's opset can only be raised"
            raise StepError(Diagnostic("opset-mismatch", said, hint))
        made, reason = opset.converted(model, prepared(model.proto), self.opset)
        if made is None:
            said = f"{asked}, and ONNX's version converter does not raise it: {reason}"
            raise StepError(Diagnostic("opset-mismatch", said, hint))
        said = f"raised from opset {model.opset} to {self.opset}, as the recipe asks"
        return made, (Diagnostic("opset-mismatch", said, level="info"),)


@dataclass(frozen=True, kw_only=True)
class AdoptedReference(Step):
    """Run the source file in ONNX Runtime on a CPU: there is no PyTorch model to ask."""

    path: str
    sampling: Sampling

    kind: ClassVar[str] = "reference"
    version: ClassVar[int] = 4
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "numpy")

    def declared(self, base: Path) -> tuple[Path, ...]:
        return self.sampling.declared(base)

    def reads(self, base: Path) -> tuple[Path, ...]:
        return (*_files(base / self.path), *self.declared(base))

    def run_at(self, base: Path, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write one ``.npz`` per input and an index of them.

        Raises:
            StepError: the file does not load or run.
            ProofError: ``nondeterministic-reference``.
        """
        from modelbuild.steps import samples

        session = self._session(base / self.path)

        def call(arrays: Mapping[str, Array]) -> list[Array]:
            outs = session.run(None, dict(arrays))
            return [o.astype("float32") if o.dtype == "float16" else o for o in outs]

        first = samples.random_inputs(self.sampling.inputs, self.sampling.rows[0], (0, 2))
        said, counts = record(self.sampling, call, base, out, flops=0.0)
        if not agree(call(first), call(first)):
            raise ProofError(
                Diagnostic(
                    "nondeterministic-reference",
                    f"{self.path} does not agree with itself on the same input: it draws random numbers",
                    "look for RandomNormal, RandomUniform, Bernoulli, or Dropout in training mode",
                )
            )
        return Outcome(said, {"counts": counts})

    def _session(self, path: Path) -> InferenceSession:
        """The file in ONNX Runtime: as it is, or mended where nothing else keeps it from loading.

        Raises:
            StepError: ``import-failed``.
        """
        from modelbuild.graph import adoption, files, runtime

        try:
            files.data_files(path)  # ONNX Runtime may read what lies elsewhere
        except Exception as error:
            raise _unreadable(self.path, first_line(error)) from error
        try:
            return runtime.session_of_file(path)
        except Exception as error:
            if runtime.lacks_kernels(error):
                raise _no_kernel(self.path, first_line(error)) from error
            passing.met(error)
            model = _read(path)
            adoption.mend(model)
            try:
                return runtime.session(model)
            except Exception:
                raise _unreadable(self.path, first_line(error)) from error


def _no_kernel(name: str, reason: str) -> StepError:
    said = f"{name} does not run on a CPU, and so cannot be its own reference: {reason}"
    hint = "take the float32 file that it was made from; `precision` makes the others"
    return StepError(Diagnostic("import-failed", said, hint))


def _free_negative_dims(model: Model) -> None:
    """-1 is how some converters write a free axis; to ONNX it is a size like another."""
    graph = model.proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 0:
                dim.Clear()


def _read(path: Path) -> Model:
    from modelbuild.graph import files

    try:
        return files.read(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path.name, first_line(error)) from error


def _files(path: Path) -> tuple[Path, ...]:
    """The model, and the data files that it names, in nodes and bodies too."""
    from modelbuild.graph import files

    try:
        return (path, *files.data_files(path))
    except Exception as error:  # the step itself says what is wrong with it
        passing.met(error)
        return (path,)


def _unreadable(name: str, reason: str) -> StepError:
    hint = "is it a valid ONNX file?"
    if "is not a registered function/op" in reason:
        hint = "ONNX Runtime has no such operator, so that nothing here can run the file"
    return StepError(Diagnostic("import-failed", f"{name} cannot be used: {reason}", hint))
