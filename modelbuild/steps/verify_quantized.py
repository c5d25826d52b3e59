"""The proof of an int8 file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelbuild.base.errors import Diagnostic, ProofError
from modelbuild.steps.running import Running, simulated
from modelbuild.steps.verify import Verify

if TYPE_CHECKING:
    from modelbuild.graph.files import Model


@dataclass(frozen=True, kw_only=True)
class VerifyQuantized(Verify):
    """Compare an int8 file with the recorded reference, its QuantizeLinear and DequantizeLinear run in float.

    That is what integer hardware computes. ONNX Runtime's own integer kernels are not asked: on a processor
    without VNNI they saturate, and what they say of a file is no word on it.
    """

    base: str  # the precision of its floats

    kind: ClassVar[str] = "verify int8"

    @property
    def dtype(self) -> str:
        return self.base

    @property
    def on_gpu(self) -> bool:
        return False

    def _started(self, path: Path, model: Model) -> Running:
        return simulated(path, model, self.precision)

    def _named_rightly(self, model: Model) -> tuple[Diagnostic, ...]:
        from modelbuild.graph.naming import nodes

        if any(node.op_type == "DequantizeLinear" for node in nodes(model.proto.graph)):
            return ()
        diagnostic = Diagnostic(
            "int8-infeasible",
            f"the graph has no DequantizeLinear: nothing in it is int8, so the file would be the {self.base} "
            "one under another name",
            "leave this precision out; or block fewer nodes, if the recipe blocks any",
        )
        raise ProofError((diagnostic,), {})
