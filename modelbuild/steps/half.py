"""fp32 ONNX -> fp16 ONNX by converting the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from modelbuild.steps.base import Outcome, Step


@dataclass(frozen=True)
class Half(Step):
    """Convert the simplified fp32 graph; the option names are onnxconverter-common's."""

    filename: str
    keep_io_types: bool
    disable_shape_infer: bool
    op_block_list: tuple[str, ...] | None
    node_block_list: tuple[str, ...]
    min_positive_val: float
    max_finite_val: float
    keep_initializers_as_inputs: bool

    kind: ClassVar[str] = "half"
    version: ClassVar[int] = 1
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxconverter-common", "numpy")

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``filename``; clamped values are diagnosed, never silent."""
        from modelbuild.graph import files, interface
        from modelbuild.graph.precision import HalfOptions, convert

        (source,) = given["model"].glob("*.onnx")
        model = files.read(source)
        interface.set_initializers_as_inputs(model, False)
        half, said = convert(
            model,
            HalfOptions(
                keep_io_types=self.keep_io_types,
                disable_shape_infer=self.disable_shape_infer,
                op_block_list=self.op_block_list,
                node_block_list=self.node_block_list,
                min_positive_val=self.min_positive_val,
                max_finite_val=self.max_finite_val,
            ),
        )
        interface.set_initializers_as_inputs(half, self.keep_initializers_as_inputs)
        files.write(half, out / self.filename)
        return Outcome(said, {"nodes": len(half.proto.graph.node)})
