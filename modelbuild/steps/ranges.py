"""The values that the tensors of a half precision file take: for people to look at.

A build does not need them where the proof passes, and measures them only where it does not. So
this is an action by itself, which nothing waits for and only a report asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelbuild.steps.base import Outcome, Step

if TYPE_CHECKING:
    from modelbuild.steps.samples import Array


@dataclass(frozen=True, kw_only=True)
class Ranges(Step):
    """Run the file in float32, without rounding, on one recorded input per size and on the recipe's
    own: the figures of a tensor settle with its size, and a largest input takes seconds."""

    filename: str
    precision: str

    kind: ClassVar[str] = "ranges"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "ml_dtypes", "numpy")

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Writes nothing; ``ranges`` of its data has a row of JSON per tensor, in the graph's order."""
        import numpy as np

        from modelbuild.graph import files, interface
        from modelbuild.graph.edges import with_numpy_edges
        from modelbuild.steps import reference
        from modelbuild.steps.losses import all_rows

        model = with_numpy_edges(files.read(given["model"] / self.filename))
        dtypes = {p.name: files.numpy_dtype(p.dtype) for p in interface.inputs(model)}

        def feeds() -> Iterator[dict[str, Array]]:
            seen = []
            for case, arrays, _ in reference.load(given["reference"]):
                if case.row is not None and case.sizes in seen:
                    continue
                seen.append(case.sizes)
                yield {name: np.asarray(arrays[name], dtype) for name, dtype in dtypes.items()}

        return Outcome(data={"ranges": all_rows(model, self.precision, feeds())})
