"""Fourier transforms as products, against NumPy's and against the operator itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from modelbuild.graph import spectra
from modelbuild.graph.files import Model
from modelbuild.steps.simplify import Simplify


def _model(
    shape: str, attributes: str, opset: int = 18, more: str = "", constants: str = ""
) -> onnx.ModelProto:
    text = f"""<ir_version: 9, opset_import: ["" : {opset}]>
    g (float[{shape}] x) => (float[{", ".join("ABCDE"[: shape.count(",") + 1])}] y)
    <{constants}> {{ y = DFT <{attributes}> (x{more}) }}"""
    return onnx.parser.parse_model(text)


def _rewritten(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    model = Model(made, {})
    spectra.as_products(model)
    for tensor in made.graph.initializer:
        if tensor.name in model.weights:
            tensor.CopyFrom(onnx.numpy_helper.from_array(model.weights[tensor.name].load(), tensor.name))
    onnx.checker.check_model(made, full_check=True)
    return made


def _run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"x": x})
    return np.asarray(got)


def _operators(proto: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in proto.graph.node]


@pytest.mark.parametrize(
    ("shape", "attributes", "opset", "more", "constants", "numpys"),
    [
        pytest.param("N, 12, 1", "axis = 1, onesided = 1", 18, "", "",
                     lambda x: np.fft.rfft(x[..., 0]), id="half-a-spectrum"),
        pytest.param("N, 9, 1", "axis = 1", 18, "", "", lambda x: np.fft.fft(x[..., 0]), id="of-odd-length"),
        pytest.param("N, 5, 7, 2", "axis = 1", 18, "", "",
                     lambda x: np.fft.fft(x[..., 0] + 1j * x[..., 1], axis=1), id="along-a-middle-axis"),
        pytest.param("N, 3, 8, 2", "axis = -2, inverse = 1", 18, "", "",
                     lambda x: np.fft.ifft(x[..., 0] + 1j * x[..., 1]), id="inverse"),
        pytest.param("N, 6, 1", "onesided = 1", 18, ", n", "int64 n = {10}",
                     lambda x: np.fft.rfft(x[..., 0], 10), id="filled-up"),
        pytest.param("N, 6, 2", "inverse = 1", 18, ", n", "int64 n = {4}",
                     lambda x: np.fft.ifft(x[..., 0] + 1j * x[..., 1], 4), id="cut-off"),
        pytest.param("N, 6, 4, 1", "onesided = 1", 20, ", , a", "int64 a = {1}",
                     lambda x: np.fft.rfft(x[..., 0], axis=1), id="axis-as-an-input"),
        *(
            pytest.param(f"N, {size}, 2", "inverse = 1, onesided = 1", 18, ", n", f"int64 n = {{{n}}}",
                         lambda x, n=n: np.fft.irfft(x[..., 0] + 1j * x[..., 1], n), id=f"back-to-{n}-real")
            for size, n in [(5, 8), (5, 9), (4, 9), (6, 8)]
        ),
        pytest.param("N, 400, 1", "onesided = 1", 20, "", "",
                     lambda x: np.fft.rfft(x[..., 0]), id="a-speech-window"),
    ],
)  # fmt: skip
def test_a_transform_of_fixed_length_is_a_product_with_the_same_values(
    shape: str, attributes: str, opset: int, more: str, constants: str, numpys: Any
) -> None:
    proto = _model(shape, attributes, opset, more, constants)
    made = _rewritten(proto)
    assert "DFT" not in _operators(made)
    assert _operators(made).count("MatMul") == 1
    assert not {"n", "a"} & {t.name for t in made.graph.initializer}  # a length or an axis that nobody reads
    for batch in (1, 3):
        sizes = [batch, *(int(n) for n in shape.split(",")[1:])]
        x = np.random.default_rng(batch).normal(size=sizes).astype(np.float32)
        want = numpys(x.astype(np.float64))
        got, largest = _run(made, x), np.abs(want).max()
        values = got[..., 0] + (1j * got[..., 1] if got.shape[-1] == 2 else 0)
        np.testing.assert_allclose(values, want, rtol=0, atol=2e-6 * largest)
        if "inverse = 1, onesided = 1" not in attributes:  # of which ONNX Runtime takes no other length
            np.testing.assert_allclose(got, _run(proto, x), rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        pytest.param("N, T, 1", "axis = 1, onesided = 1", id="of-any-length"),
        pytest.param("N, 4096, 2", "axis = 1", id="whose-table-would-be-large"),
    ],
)
def test_other_transforms_stay_as_they_are(shape: str, attributes: str) -> None:
    proto = _model(shape, attributes)
    assert _rewritten(proto) == proto


def test_transforms_that_are_alike_share_a_table() -> None:
    proto = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 18]>
    g (float[N, 32, 1] x, float[N, 32, 1] y) => (float[N, 17, 2] a, float[N, 17, 2] b, float[N, 32, 2] c)
    { a = DFT <onesided = 1> (x)
      b = DFT <onesided = 1> (y)
      c = DFT <onesided = 0> (y) }""")
    made = _rewritten(proto)
    assert _operators(made).count("MatMul") == 3
    assert sorted(t.dims[-1] for t in made.graph.initializer if len(t.dims) == 2) == [34, 64]


def test_a_length_that_is_asked_of_a_fixed_size_is_fixed() -> None:
    proto = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 18]>
    g (float[N, 32, 1] x) => (float[N, 17, 2] y)
    { size = Shape <start = 1, end = 2> (x)
      length = Squeeze (size)
      y = DFT <axis = 1, onesided = 1> (x, length) }""")
    assert _operators(_rewritten(proto)) == ["Shape", "Squeeze", "Reshape", "MatMul", "Reshape"]
    free = onnx.parser.parse_model("""<ir_version: 9, opset_import: ["" : 18]>
    g (float[N, 32, 1] x) => (float[N, K, 2] y)
    { size = Shape <start = 0, end = 1> (x)
      length = Squeeze (size)
      y = DFT <axis = 1, onesided = 1> (x, length) }""")
    assert _rewritten(free) == free


@pytest.mark.parametrize("enabled", [True, False], ids=["simplified", "as-exported"])
def test_a_file_that_is_published_has_the_product(enabled: bool, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "out").mkdir()
    proto = _model("N, 12, 1", "axis = 1, onesided = 1")
    onnx.save(proto, tmp_path / "given" / "model.onnx")
    step = Simplify(
        filename="net.onnx", enabled=enabled, constant_folding=True, keep_initializers_as_inputs=False
    )
    step.run({"model": tmp_path / "given"}, tmp_path / "out")
    made = onnx.load(tmp_path / "out" / "net.onnx")
    assert _operators(made) == ["Reshape", "MatMul", "Reshape"]
    x = np.random.default_rng(0).normal(size=(2, 12, 1)).astype(np.float32)
    np.testing.assert_allclose(_run(made, x), _run(proto, x), rtol=0, atol=1e-5)
