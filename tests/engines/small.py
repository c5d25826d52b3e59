"""Small engines, built for real with TensorRT-RTX, which needs no GPU for that.

Every build runs in a fork: Polygraphy knows one of the two TensorRTs per process, and a parser
that dies must not take pytest along.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx.parser
import pytest

from modelbuild.base.errors import Diagnostic, ModelbuildError
from modelbuild.machine import toolchain
from modelbuild.machine.isolate import in_child
from modelbuild.steps.base import Outcome
from modelbuild.steps.engine import BuildEngine, BuildRtxEngine

missing = toolchain.missing_backend("tensorrt-rtx")
needs_rtx = pytest.mark.skipif(missing is not None, reason=str(missing))
without_gpu = pytest.mark.skipif(toolchain.gpu() is not None, reason="this machine has a GPU")
version = toolchain.versions(["tensorrt-rtx"])["tensorrt-rtx"]
RTX = f"TensorRT-RTX {version}"

ADD = "(float[batch, 4] left, float[batch, 4] right) => (float[batch, 4] y) { y = Add(left, right) }"
ADD_INPUTS = (("left", ("batch", 4)), ("right", ("batch", 4)))
SMALL = (("batch", (1, 1, 1)),)
LARGE = (("batch", (1, 3, 8)),)


def write_model(folder: Path, graph: str) -> Path:
    """A folder holding one ONNX file of this graph in ONNX's text form."""
    head = '<ir_version: 10, opset_import: ["" : 18, "my" : 1]>'
    folder.mkdir(exist_ok=True)
    model = onnx.parser.parse_model(f"{head} g {graph}")
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def build(step: BuildEngine, graph: str, tmp_path: Path) -> Outcome | tuple[Diagnostic, ...]:
    """Run the step in a fork: its outcome, or the diagnostics of its failure."""
    given = {"model": write_model(tmp_path / "given", graph)}

    def run() -> Outcome | tuple[Diagnostic, ...]:
        try:
            return step.run(given, tmp_path)
        except ModelbuildError as error:
            return error.diagnostics

    ended = in_child(run)
    assert ended.ok, ended
    result: Outcome | tuple[Diagnostic, ...] = ended.value
    return result


def rtx(inputs: Any = ADD_INPUTS, profiles: Any = (LARGE,), **knobs: Any) -> BuildRtxEngine:
    return BuildRtxEngine(filename="m.engine", inputs=inputs, profiles=profiles, **knobs)
