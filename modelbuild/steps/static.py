"""A variant with axes pinned in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from modelbuild.base.errors import Diagnostic
from modelbuild.steps.base import Outcome, Step


@dataclass(frozen=True, kw_only=True)
class Static(Step):
    """Pin ``sizes`` in the interface, infer shapes again, simplify again; other axes stay dynamic."""

    filename: str
    sizes: Mapping[str, int]
    simplify: bool
    constant_folding: bool
    keep_initializers_as_inputs: bool | tuple[str, ...]  # or the names of those, which nothing may fold

    kind: ClassVar[str] = "static"
    version: ClassVar[int] = 5
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxsim", "numpy")

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``filename``."""
        from modelbuild.graph import files, interface, shapes
        from modelbuild.graph.simplification import simplify

        (source,) = given["model"].glob("*.onnx")
        model = files.read(source)
        diagnostics: tuple[Diagnostic, ...] = ()
        listed = self.keep_initializers_as_inputs
        held = () if isinstance(listed, bool) else listed
        interface.set_initializers_as_inputs(model, False)
        ranks = shapes.pin(model, self.sizes)
        if self.simplify:
            model, diagnostics = simplify(model, fold=self.constant_folding, fused=True, held=held)
            shapes.infer_outputs(model)
        shapes.annotate(model)
        interface.set_initializers_as_inputs(model, listed)
        files.write(model, out / self.filename)
        return Outcome((*ranks, *diagnostics), {"nodes": len(model.proto.graph.node)})
