"""The proof of an engine: run on the GPU of this machine, against PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from modelbuild.base.tensors import Sizes
from modelbuild.engines.profiles import AxisRanges
from modelbuild.engines.running import run_engine
from modelbuild.steps.base import Outcome
from modelbuild.steps.claims import check_bounds
from modelbuild.steps.running import full
from modelbuild.steps.verify import Verify


@dataclass(frozen=True, kw_only=True)
class VerifyEngine(Verify):
    """Compare an engine with the recorded reference, on the GPU of this machine."""

    backend: str = "tensorrt-rtx"
    onnx: str = ""  # the file that the engine was built from: its outputs' order and dtypes
    profiles: tuple[AxisRanges, ...] = ()

    kind: ClassVar[str] = "verify engine"
    packages: ClassVar[tuple[str, ...]] = (*Verify.packages, "polygraphy")

    def uses(self) -> tuple[str, ...]:
        from modelbuild.steps.engine import ENGINES

        return tuple(dict.fromkeys((*super().uses(), *ENGINES[self.backend].packages)))

    def run_at(self, base: Path, given: Mapping[str, Path], out: Path) -> Outcome:
        """Run every recorded input that a profile admits, through Polygraphy's runner.

        Raises:
            StepError: the engine does not load or run.
            ProofError: it does not compute what PyTorch computes.
        """
        import numpy as np

        from modelbuild.graph import files, interface
        from modelbuild.graph.counting import decided_by_floats, decided_by_values
        from modelbuild.steps.proof import Proof

        model = files.read(given["onnx"] / self.onnx)
        names = [p.name for p in interface.outputs(model)]
        dtypes = {p.name: files.numpy_dtype(p.dtype) for p in interface.inputs(model)}
        cases = [row for row in self._cases(given["reference"]) if self._admits(row[0].sizes)]
        feeds = [{n: np.asarray(arrays[n], d) for n, d in dtypes.items()} for _, arrays, _ in cases]
        found = iter(run_engine(given["model"] / self.filename, self.backend, feeds, names))
        check_bounds(self.tolerance, names)
        proof = Proof(self, names, counted=decided_by_floats(model), live=decided_by_values(model))
        for case, arrays, expected in cases:
            proof.add(case, expected, lambda _: [full(o) for o in next(found)], arrays)
        self._doubt(proof, given["reference"], base)
        return self._verdict(proof, "gpu", ())

    def _admits(self, sizes: Sizes) -> bool:
        return not self.profiles or any(
            all(low <= sizes[axis] <= high for axis, (low, _, high) in profile) for profile in self.profiles
        )
