"""A variant with axes pinned in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelbuild.errors import Diagnostic
from modelbuild.isolate import in_child
from modelbuild.steps.base import Outcome, Step

if TYPE_CHECKING:
    from modelbuild.graph.files import Model


@dataclass(frozen=True)
class Static(Step):
    """Pin ``sizes`` in the interface, infer shapes again, simplify again; other axes stay dynamic."""

    filename: str
    sizes: Mapping[str, int]
    simplify: bool
    constant_folding: bool
    keep_initializers_as_inputs: bool

    kind: ClassVar[str] = "static"
    version: ClassVar[int] = 1
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxsim", "onnxruntime", "numpy")

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``filename``."""
        from modelbuild.graph import files, interface

        source = next(p for p in sorted(given["model"].iterdir()) if p.suffix == ".onnx")
        model = files.read(source)
        interface.set_initializers_as_inputs(model, False)
        interface.pin(model, self.sizes)
        interface.infer_outputs(model)
        said: tuple[Diagnostic, ...] = ()
        if self.simplify:
            model, said = _simplified(model, fold=self.constant_folding)
            interface.infer_outputs(model)
        interface.set_initializers_as_inputs(model, self.keep_initializers_as_inputs)
        files.write(model, out / self.filename)
        return Outcome(said, {"nodes": len(model.proto.graph.node)})


def _simplified(model: Model, *, fold: bool) -> tuple[Model, tuple[Diagnostic, ...]]:
    """The simplified model, or the same one and a warning; onnxsim is native code and may die."""
    from modelbuild.graph import files, interface
    from modelbuild.graph.simplification import simplify_structure

    ended = in_child(lambda: _shipped(simplify_structure(model, fold=fold)))
    reason = ended.died or (str(ended.error) if ended.error else None)
    if reason is None:
        structure, kept = ended.value
        after = files.Model(
            files.parse(structure), {n: w for n, w in model.weights.items() if n in kept}
        )
        interface.strip(after.proto)
        reason = interface.same_interface(model, after)
        if reason is None:
            return after, ()
    said = Diagnostic(
        "simplify-failed",
        f"onnxsim: {reason}; the variant keeps its unsimplified graph",
        "set `simplify: false` to silence this",
        level="warning",
    )
    return model, (said,)


def _shipped(model: Model) -> tuple[bytes, set[str]]:
    return model.proto.SerializeToString(deterministic=True), set(model.weights)
