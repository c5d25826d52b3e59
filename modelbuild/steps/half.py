"""fp32 ONNX -> fp16 or bf16 ONNX by converting the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from modelbuild.base.errors import Diagnostic
from modelbuild.steps.base import Outcome, Step

FLOAT = 1  # TensorProto.FLOAT, without importing it

if TYPE_CHECKING:
    from modelbuild.graph.files import Model
    from modelbuild.graph.precision import HalfOptions


@dataclass(frozen=True, kw_only=True)
class Half(Step):
    """Convert the simplified fp32 graph; the option names are onnxconverter-common's.

    Bounds that are None are those of ``dtype``.
    """

    filename: str
    dtype: Literal["fp16", "bf16"]
    keep_io_types: bool
    disable_shape_infer: bool
    op_block_list: tuple[str, ...] | None
    node_block_list: tuple[str, ...]
    min_positive_val: float | None
    max_finite_val: float | None
    keep_initializers_as_inputs: bool | tuple[str, ...]  # or the names of those

    kind: ClassVar[str] = "half"
    version: ClassVar[int] = 5
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxconverter_common", "numpy")

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``filename``; clamped values and a raised opset are diagnosed, never silent.

        Raises:
            StepError: ``opset-mismatch``.
        """
        model, said = self.source(given["model"])
        return Outcome((*said, *self.convert(model, out)))

    def source(self, folder: Path) -> tuple[Model, tuple[Diagnostic, ...]]:
        """The graph to convert, at an opset that takes its operators, and what to say about that.

        Raises:
            StepError: ``opset-mismatch``.
        """
        from modelbuild.graph import files, interface, opset, shapes, widening
        from modelbuild.graph.types import type_name

        (path,) = folder.glob("*.onnx")
        model = files.read(path)
        shapes.forget(model.proto.graph)
        interface.set_initializers_as_inputs(model, False)
        options = self.options()
        diagnostics: tuple[Diagnostic, ...] = ()
        own = widening.main_type(model.proto)
        if own is not None and own not in (FLOAT, options.dtype):
            model = widening.as_float32(model, widening.FLOATS - {FLOAT, options.dtype})
            message = f"the model is one of {type_name(own)}: taken as float32, and converted from that"
            diagnostics = (Diagnostic("precision-fallback", message, level="info"),)
        if self.dtype == "bf16":
            model, raised = opset.raised(model, options.dtype, options.blocks())
            diagnostics = (*diagnostics, *raised)
        return model, diagnostics

    def convert(self, model: Model, out: Path, kept: tuple[str, ...] = ()) -> tuple[Diagnostic, ...]:
        """Write ``filename`` with these nodes in fp32, beside those that the recipe blocks."""
        from modelbuild.graph import files, interface, precision, shapes

        half, clamped = precision.convert(model, self.options(kept))
        shapes.annotate(half)
        interface.set_initializers_as_inputs(half, self.keep_initializers_as_inputs)
        files.write(half, out / self.filename)
        return clamped

    def options(self, kept: tuple[str, ...] = ()) -> HalfOptions:
        """The conversion's options, with these nodes blocked beside the recipe's."""
        from modelbuild.graph.precision import HalfOptions
        from modelbuild.graph.types import ELEM_TYPES

        return HalfOptions(
            keep_io_types=self.keep_io_types,
            disable_shape_infer=self.disable_shape_infer,
            op_block_list=self.op_block_list,
            node_block_list=(*self.node_block_list, *kept),
            min_positive_val=self.min_positive_val,
            max_finite_val=self.max_finite_val,
            dtype=ELEM_TYPES[self.dtype],
        )
