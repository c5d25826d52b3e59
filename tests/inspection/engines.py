"""Engines to look at, where there is a toolkit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from modelbuild.machine import toolchain
from modelbuild.machine.isolate import in_child
from modelbuild.steps.engine import BuildRtxEngine

missing = toolchain.missing_backend("tensorrt-rtx")
needs_rtx = pytest.mark.skipif(missing is not None, reason=str(missing))
without_gpu = pytest.mark.skipif(toolchain.gpu() is not None, reason="this machine has a GPU")


NO_GPU = "inputs, outputs and profiles need the engine loaded: there is no GPU here"


def build_engine(folder: Path, **knobs: Any) -> Path:
    (folder / "given").mkdir()
    graph = "g (float[batch, 4] x) => (float[batch, 4] y) { y = Relu(x) }"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]> {graph}')
    onnx.save(proto, str(folder / "given" / "m.onnx"))
    profiles = ((("batch", (1, 1, 1)),), (("batch", (1, 3, 8)),))
    step = BuildRtxEngine(filename="m.engine", inputs=(("x", ("batch", 4)),), profiles=profiles, **knobs)
    ended = in_child(lambda: step.run({"model": folder / "given"}, folder))
    assert ended.ok, ended
    return folder / "m.engine"
