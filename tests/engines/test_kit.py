"""A backend that is loaded once, told what to do, and heard."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.machine.isolate import in_child
from modelbuild.steps.engine import BuildTensorrtEngine
from tests.engines.small import ADD, ADD_INPUTS, LARGE, RTX, build, needs_rtx, rtx, without_gpu, write_model


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="tensorrt is installed")
def test_a_backend_that_is_not_here_is_missing(tmp_path: Path) -> None:
    step = BuildTensorrtEngine(filename="m.engine", inputs=ADD_INPUTS, profiles=(LARGE,))

    found = build(step, ADD, tmp_path)

    assert found == (
        Diagnostic(
            "backend-missing",
            "tensorrt cannot be imported: ModuleNotFoundError: No module named 'tensorrt'",
        ),
    )


@needs_rtx
def test_a_name_that_reads_as_a_pattern_keeps_its_own_profile(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = write_model(tmp_path / "given", "(float[batch, 4] x) => (float[batch, 4] y) { y = Relu(x) }")
    model = onnx.load(str(given / "model.onnx"))
    model.graph.input[0].name = model.graph.node[0].input[0] = "x[0]*"
    onnx.save(model, str(given / "model.onnx"))
    step = rtx((("x[0]*", ("batch", 4)),))

    ended = in_child(lambda: step.run({"model": given}, tmp_path))

    assert ended.ok, ended
    said = capfd.readouterr().out
    assert "[min=(1, 4), opt=(3, 4), max=(8, 4)]" in said
    assert "No shapes provided" not in said


@needs_rtx
def test_what_the_builder_refuses_is_said_in_its_own_words(tmp_path: Path) -> None:
    graph = "(float[n, m] x, float[k, 4] w) => (float[n, 4] y) { [product] y = MatMul(x, w) }"

    found = build(rtx((("x", ("batch", 5)), ("w", (6, 4)))), graph, tmp_path)

    message = (
        f"{RTX} cannot build m.engine: IMatrixMultiplyLayer product: product: attempt to multiply "
        "two matrices with mismatching dimensions"
    )
    assert found == (Diagnostic("engine-failed", message),)


@needs_rtx
@without_gpu
def test_target_current_without_a_gpu_says_what_it_needs(tmp_path: Path) -> None:
    found = build(rtx(targets=("current",)), ADD, tmp_path)

    assert isinstance(found, tuple)
    assert found[0].message.startswith(f"{RTX} cannot build m.engine: cudaError ")
    assert found[0].hint == "this needs an NVIDIA GPU and a driver that fits this version"
