"""What the parser takes, and how it is told what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from modelbuild.base.errors import Diagnostic, ModelbuildError
from modelbuild.machine.isolate import in_child
from tests.engines.small import RTX, build, needs_rtx, rtx, write_model


@needs_rtx
def test_weights_in_a_file_of_their_own_are_found(tmp_path: Path) -> None:
    given = write_model(
        tmp_path / "given", "(float[batch, 64] x) => (float[batch, 64] y) { y = MatMul(x, w) }"
    )
    model = onnx.load(str(given / "model.onnx"))
    weight = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, str(given / "model.onnx"), save_as_external_data=True, location="model.onnx.data")
    step = rtx((("x", ("batch", 64)),))

    ended = in_child(lambda: step.run({"model": given}, tmp_path))

    assert ended.ok, ended
    assert (tmp_path / "m.engine").stat().st_size > weight.nbytes


@needs_rtx
@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        pytest.param(
            "(float[batch, 4] x) => (float[batch, 4] y) { [blurry] y = my.Blur(x) }",
            (
                f"{RTX} refuses node `blurry`, operator Blur: Plugin not found, are the plugin "
                "name, version, and namespace correct? (INVALID_NODE)",
                "TensorRT-RTX has no Blur like this one: try another opset, or write that part of "
                "the model with other operators",
            ),
            id="an-operator-of-nobody",
        ),
        pytest.param(
            "(float[batch, 4] x) => (float[batch, 4] y) { h = Relu(x) \n y = my.Blur(h) }",
            (
                f"{RTX} refuses node 1 (it has no name), operator Blur: Plugin not found, are the "
                "plugin name, version, and namespace correct? (INVALID_NODE)",
                "TensorRT-RTX has no Blur like this one: try another opset, or write that part of "
                "the model with other operators",
            ),
            id="a-node-without-a-name",
        ),
        pytest.param(
            "(float[batch, 4] x) => (float[batch] y) { [area] y = Det(x) }",
            (
                f"{RTX} refuses node `area`, operator Det: no reason given (UNSUPPORTED_NODE)",
                "TensorRT-RTX has no Det like this one: try another opset, or write that part of "
                "the model with other operators",
            ),
            id="an-operator-of-onnx-alone",
        ),
        pytest.param(
            "(float[batch, 4] x) => (float[batch, 4] y) "
            "{ [half] h = Cast<to = 10>(x) \n [sum] y = Add(x, h) }",
            (
                f"{RTX} refuses node `sum`, operator Add: sum: ElementWiseOperation SUM must have "
                "same input types. But they are of types Float and Half (INVALID_NODE)",
                None,
            ),
            id="two-precisions-in-one-node",
        ),
    ],
)
def test_what_the_parser_refuses_is_said_with_the_node(
    graph: str, expected: tuple[str, str | None], tmp_path: Path
) -> None:
    message, hint = expected

    found = build(rtx((("x", ("batch", 4)),)), graph, tmp_path)

    assert found == (Diagnostic("engine-failed", message, hint),)
    assert not (tmp_path / "m.engine").exists()


@needs_rtx
def test_of_many_refused_nodes_five_are_named(tmp_path: Path) -> None:
    nodes = "\n".join(f"[n{i}] h{i} = my.Blur(x)" for i in range(7))

    found = build(
        rtx((("x", ("batch", 4)),)), f"(float[batch, 4] x) => (float[batch, 4] h6) {{ {nodes} }}",
        tmp_path,
    )  # fmt: skip

    assert isinstance(found, tuple)
    assert len(found) == 6
    assert found[5] == Diagnostic("engine-failed", f"{RTX} refuses 2 more nodes")


@needs_rtx
def test_a_file_that_is_no_model_does_not_become_an_engine(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "model.onnx").write_bytes(b"hello world" * 10)

    def run() -> tuple[Diagnostic, ...]:
        with pytest.raises(ModelbuildError) as failed:
            rtx().run({"model": given}, tmp_path)
        return failed.value.diagnostics

    assert in_child(run).value == (
        Diagnostic(
            "engine-failed",
            f"{RTX} finds no model in model.onnx",
            "is it a valid ONNX file?",
        ),
    )


@needs_rtx
def test_an_input_whose_values_are_a_shape_is_refused(tmp_path: Path) -> None:
    graph = "(float[batch, 4] x, int64[2] s) => (float[a, b] y) { y = Reshape(x, s) }"

    found = build(rtx((("x", ("batch", 4)), ("s", (2,)))), graph, tmp_path)

    assert found == (
        Diagnostic(
            "engine-failed",
            "the values of input `s` decide shapes inside the model, and a profile has ranges for axes only",
            "make these values constants of the model, or axes of another input",
        ),
    )
