"""The exported graph, simplified by onnxsim, as one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from modelbuild.base.errors import Diagnostic
from modelbuild.steps.base import Outcome, Step


@dataclass(frozen=True, kw_only=True)
class Simplify(Step):
    """Fold constants and remove what does nothing; the interface stays as it is."""

    filename: str
    enabled: bool
    constant_folding: bool
    keep_initializers_as_inputs: bool | tuple[str, ...]  # or the names of those, which nothing may fold

    kind: ClassVar[str] = "simplify"
    version: ClassVar[int] = 7
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxsim", "onnxruntime", "numpy")

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``filename``: simplified, or as it was with a warning where onnxsim fails.

        Without simplification only what follows from weights alone is computed, if asked for.
        """
        from modelbuild.graph import files, interface, shapes, spectra
        from modelbuild.graph.evaluation import fold_computed
        from modelbuild.graph.simplification import simplify

        (source,) = given["model"].glob("*.onnx")
        model = files.read(source)
        diagnostics: tuple[Diagnostic, ...] = ()
        listed = self.keep_initializers_as_inputs
        held = () if isinstance(listed, bool) else listed
        if self.enabled:
            model, diagnostics = simplify(model, fold=self.constant_folding, held=held)
        elif self.constant_folding:
            fold_computed(model, held)
        spectra.as_products(model)
        shapes.annotate(model)
        interface.set_initializers_as_inputs(model, listed)
        files.write(model, out / self.filename)
        return Outcome(diagnostics, {"nodes": len(model.proto.graph.node)})
