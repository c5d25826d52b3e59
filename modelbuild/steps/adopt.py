"""An existing ONNX file as the source: taken over instead of exported, and its own reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelbuild.errors import Diagnostic, StepError, first_line
from modelbuild.steps.base import Outcome, Step
from modelbuild.steps.reference import Sampling, record
from modelbuild.tensors import TensorSpec

if TYPE_CHECKING:
    from modelbuild.graph.files import Model
    from modelbuild.steps.samples import Array


@dataclass(frozen=True)
class Adopt(Step):
    """Check the file against the recipe and give it the recipe's interface."""

    path: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...] | None
    opset: int | None

    kind: ClassVar[str] = "adopt"
    version: ClassVar[int] = 1
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "numpy")

    def reads(self, base: Path) -> tuple[Path, ...]:
        return _files(base / self.path)

    def run_at(self, base: Path, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``model.onnx`` and ``model.onnx.data``.

        Raises:
            StepError: unreadable, or opset-mismatch, inputs-mismatch, outputs-mismatch, baked-axis.
        """
        from modelbuild.graph import files, interface

        model = _read(base / self.path)
        if self.opset is not None and model.opset != self.opset:
            raise StepError(
                Diagnostic(
                    "opset-mismatch",
                    f"{self.path} has opset {model.opset}, the recipe asks for {self.opset}",
                    f"set `opset: {model.opset}`, or leave it out to keep the file's",
                )
            )
        have = [p.name for p in interface.inputs(model)]
        wanted = [s.name for s in self.inputs]
        if set(have) != set(wanted):
            raise StepError(
                Diagnostic(
                    "inputs-mismatch",
                    f"{self.path} has the inputs {have}, the recipe {wanted}",
                    "name the recipe's inputs as the file does",
                )
            )
        interface.set_initializers_as_inputs(model, False)
        interface.strip(model.proto)
        _free_negative_dims(model)
        said = interface.settle(model, self.inputs, self.outputs)
        files.write(model, out / "model.onnx", external=True)
        return Outcome(said, {"outputs": [o.name for o in model.proto.graph.output]})


@dataclass(frozen=True)
class AdoptedReference(Step):
    """Run the source file in ONNX Runtime on a CPU: there is no PyTorch model to ask."""

    path: str
    sampling: Sampling

    kind: ClassVar[str] = "reference"
    version: ClassVar[int] = 1
    distributions: ClassVar[tuple[str, ...]] = ("onnxruntime", "numpy")

    def declared(self, base: Path) -> tuple[Path, ...]:
        return self.sampling.declared(base)

    def reads(self, base: Path) -> tuple[Path, ...]:
        return (*_files(base / self.path), *self.declared(base))

    def run_at(self, base: Path, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write one ``.npz`` per input and an index of them.

        Raises:
            StepError: the file does not load or run.
        """
        from modelbuild.graph import runtime

        try:
            session = runtime.session_of_file(base / self.path)
        except Exception as error:
            raise _unreadable(self.path, first_line(error)) from error

        def call(arrays: Mapping[str, Array]) -> list[Array]:
            outs = session.run(None, dict(arrays))
            return [o.astype("float32") if o.dtype == "float16" else o for o in outs]

        said, counts = record(self.sampling, call, base, out, flops=0.0)
        return Outcome(said, {"counts": counts})


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
    """The model, and the data files that it names."""
    import onnx

    found = [path]
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception:  # the step itself says what is wrong with it
        return (path,)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location" and path.parent / entry.value not in found:
                found.append(path.parent / entry.value)
    return tuple(found)


def _unreadable(name: str, reason: str) -> StepError:
    return StepError(
        Diagnostic("import-failed", f"{name} cannot be used: {reason}", "is it a valid ONNX file?")
    )
