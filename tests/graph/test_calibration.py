"""Thresholds of activations: against numpy, on activations that another session has returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from modelbuild.base.errors import StepError
from modelbuild.graph import calibration
from modelbuild.graph.calibration import Threshold, thresholds
from modelbuild.graph.clipping import BINS, bins_kept
from modelbuild.graph.files import Model
from modelbuild.machine import cores
from tests.graph import graph_zoo

METHODS = ("minmax", "percentile", "entropy", "mse")
NET = """
    g (float[n, 2, h, h] x) => (float[n, 3, h, h] y)
    <float[4, 2, 3, 3] a = {?}, float[3, 4, 1, 1] b = {?}>
    { c = Conv<pads = [1, 1, 1, 1]>(x, a)  r = Relu(c)  s = Sigmoid(r)  m = Mul(r, s)  y = Conv(m, b) }"""
TENSORS = ("x", "c", "r", "m")

Feeds = list[dict[str, np.ndarray]]


def net(opset: int = 18) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    text = NET
    for size in (72, 12):
        values = ", ".join(f"{v:.4f}" for v in rng.normal(size=size))
        text = text.replace("?", values, 1)
    proto = graph_zoo.parse(text)
    proto.opset_import[0].version = opset
    return proto


def feeds(count: int = 6) -> Feeds:
    rng = np.random.default_rng(2)
    shapes = [(1 + i % 3, 2, 5 + i, 5 + i) for i in range(count)]
    return [{"x": rng.normal(0, 1 + i, s).astype(np.float32)} for i, s in enumerate(shapes)]


def recorded(proto: onnx.ModelProto, tensors: tuple[str, ...], given: Feeds) -> dict[str, np.ndarray]:
    """All that each tensor held, flat: returned by a graph that returns them."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    del made.graph.output[:]
    made.graph.output.extend(onnx.helper.make_tensor_value_info(t, TensorProto.FLOAT, None) for t in tensors)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(made.SerializeToString(), options)
    rows = [session.run(list(tensors), feed) for feed in given]
    return {t: np.concatenate([row[i].ravel() for row in rows]) for i, t in enumerate(tensors)}


def found(
    proto: onnx.ModelProto, given: Feeds, method: str = "minmax", tensors: tuple[str, ...] = TENSORS
) -> dict[str, Threshold]:
    def batches() -> Iterator[Mapping[str, Any]]:
        yield from given

    return thresholds(Model(proto), tensors, batches, method)


def one(text: str, *given: Any, method: str = "minmax", name: str = "x") -> Threshold:
    return found(graph_zoo.parse(text), [{"x": np.asarray(x)} for x in given], method, (name,))[name]


@pytest.mark.parametrize("method", METHODS)
def test_extremes_are_those_of_all_samples_together(method: str) -> None:
    held = recorded(net(), TENSORS, feeds())
    rows = found(net(), feeds(), method)
    assert list(rows) == list(TENSORS)
    for tensor, values in held.items():
        assert (rows[tensor].low, rows[tensor].high) == (float(values.min()), float(values.max()))
        assert 0 < rows[tensor].threshold <= float(np.abs(values).max())


def test_minmax_takes_the_largest_magnitude() -> None:
    held = recorded(net(), TENSORS, feeds())
    for tensor, row in found(net(), feeds()).items():
        assert row.threshold == float(np.abs(held[tensor]).max())


@pytest.mark.parametrize("method", METHODS[1:])
def test_what_a_histogram_tells_is_what_numpys_tells(method: str) -> None:
    held = recorded(net(), TENSORS, feeds())
    for tensor, row in found(net(), feeds(), method).items():
        size = np.abs(held[tensor])
        width = float(size.max()) / BINS
        counts, _ = np.histogram(-size[size > 0], bins=-width * np.arange(BINS, -1, -1.0))
        kept = bins_kept(np.append(0, counts[::-1]), method)
        # numpy's edges are float64, so that an element may lie in the next bin
        assert row.threshold == pytest.approx(
            kept * width, abs=(8 if method != "percentile" else 1.01) * width
        )


def test_the_percentile_is_that_of_what_is_not_zero() -> None:
    held = recorded(net(), TENSORS, feeds())
    for tensor, row in found(net(), feeds(), "percentile").items():
        size = np.abs(held[tensor])
        wanted = float(np.percentile(size[size > 0], 99.99, method="inverted_cdf"))
        assert abs(row.threshold - wanted) <= float(size.max()) / BINS * 1.01


@pytest.mark.parametrize("method", METHODS[1:])
def test_zeros_behind_a_relu_change_nothing(method: str) -> None:
    text = "g (float[n] x) => (float[n] y) { r = Relu(x)  y = Neg(r) }"
    values = np.random.default_rng(3).laplace(size=5000).astype(np.float32)
    padded = np.append(values, np.full(100_000, -1, np.float32))
    assert one(text, values, method=method, name="r") == one(text, padded, method=method, name="r")


def test_onnx_runtimes_own_calibrator_finds_the_same_extremes(tmp_path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader
    from onnxruntime.quantization.calibrate import create_calibrator

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rows = iter(feeds())

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    onnx.save(net(), tmp_path / "net.onnx")
    theirs = create_calibrator(
        tmp_path / "net.onnx", ["Conv"], str(tmp_path / "augmented.onnx"), providers=["CPUExecutionProvider"]
    )
    theirs.collect_data(Reader())
    told = theirs.compute_data().data
    ours = found(net(), feeds(), tensors=("x", "m"))
    for tensor, row in ours.items():
        low, high = told[tensor].range_value
        assert (row.low, row.high) == (pytest.approx(float(low.item())), pytest.approx(float(high.item())))


def test_a_tensor_with_a_value_that_is_no_number_has_no_threshold() -> None:
    text = "g (float[n] x) => (float[n] y) { y = Neg(x) }"
    fine = np.float32([1, -2])
    for method in METHODS:
        for bad in (np.nan, np.inf, -np.inf):
            row = one(text, fine, np.float32([3, bad, 1]), fine, method=method)
            assert not row.is_finite, (method, bad, row)
        assert one(text, fine, method=method).is_finite
    assert np.isnan(one(text, np.float32([1, np.nan])).high)


def test_large_values_are_numbers_though_their_sum_is_none() -> None:
    text = "g (float[n] x) => (float[n] y) { y = Neg(x) }"
    assert one(text, np.float32([3e38, -3e38, 3e38])) == Threshold(
        *map(float, np.float32([-3e38, 3e38, 3e38]))
    )
    assert one(text, np.float32([3e38, 1e37]), method="mse").is_finite


@pytest.mark.parametrize("method", METHODS)
def test_scalars_zeros_next_to_nothing_and_nothing(method: str) -> None:
    scalar, vector = (
        "g (float x) => (float y) { y = Neg(x) }",
        "g (float[n] x) => (float[n] y) { y = Neg(x) }",
    )
    assert one(scalar, np.float32(-3), method=method) == Threshold(-3.0, -3.0, 3.0)
    assert one(vector, np.zeros(4, np.float32), method=method) == Threshold(0.0, 0.0, 0.0)
    tiny = float(np.float32(1e-40))
    assert one(vector, np.float32([0, 1e-40]), method=method) == Threshold(0.0, tiny, tiny)
    empty = np.zeros(0, np.float32)
    assert one(vector, empty, np.float32([2]), empty, method=method) == Threshold(2.0, 2.0, 2.0)
    assert not one(vector, empty, method=method).is_finite
    assert not one(vector, method=method).is_finite
    assert found(net(), feeds(), method, ()) == {}


def test_tensors_of_other_floats_are_measured_as_float32() -> None:
    text = "g (float16[n] x) => (float16[n] y) { y = Neg(x) }"
    assert one(text, np.float16([1, -4]), method="mse").threshold == pytest.approx(4, rel=0.02)


def test_weights_outputs_and_inputs_have_thresholds_too() -> None:
    text = "g (float[2] x) => (float[2] y) <float[2] w = {5.0, -7.0}> { y = Mul(x, w) }"
    rows = found(graph_zoo.parse(text), [{"x": np.float32([1, 2])}], "percentile", ("w", "y", "x"))
    assert {name: row.high for name, row in rows.items()} == {"w": 5.0, "y": 5.0, "x": 2.0}
    assert rows["y"].low == -14.0


def test_a_tensor_that_the_graph_does_not_make_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="the graph makes no tensor 'z'"):
        found(net(), feeds(), tensors=("x", "z"))


@pytest.mark.parametrize("method", METHODS)
def test_nodes_that_no_threshold_needs_are_not_run(method: str) -> None:
    text = """g (float[2] x) => (float[1] y) <int64[1] far = {9}>
    { a = Neg(x)  y = Gather(a, far) }"""
    assert one(text, np.float32([1, 2]), method=method, name="a").low == -2.0


@pytest.mark.parametrize("method", METHODS)
def test_a_graph_of_an_older_opset_has_the_same_thresholds(method: str) -> None:
    assert found(net(13), feeds(), method) == found(net(18), feeds(), method)


def test_a_graph_that_cannot_be_raised_can_still_take_minmax() -> None:
    proto = net(13)
    proto.graph.node.append(onnx.helper.make_node("Add", ["y", "whole"], ["z"]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "whole"))
    assert found(proto, feeds(), "minmax") == found(net(13), feeds(), "minmax")
    with pytest.raises(StepError) as raised:
        found(proto, feeds(), "entropy")
    (said,) = raised.value.diagnostics
    assert said.code == "opset-mismatch"
    assert said.message.startswith(
        "histograms of activations are filled at opset 16, and ONNX's version converter does not raise this "
        "graph from 13: "
    )
    assert said.hint == "set `opset: 16` or higher, or calibrate with `method: minmax`"


@pytest.mark.parametrize("method", ["minmax", "entropy"])
def test_the_cores_that_a_step_may_use_do_not_decide(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_share", 1)
    alone = found(net(), feeds(), method)
    monkeypatch.setattr(cores, "_share", 16)
    assert found(net(), feeds(), method) == alone


def test_a_run_returns_numbers_and_no_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[int] = []
    run = calibration._runs

    def counted(*given: Any) -> Iterator[Any]:
        for values in run(*given):
            returned.append(sum(v.nbytes for v in values))
            yield values

    monkeypatch.setattr(calibration, "_runs", counted)
    big: Feeds = [{"x": np.random.default_rng(4).normal(size=(2, 2, 64, 64)).astype(np.float32)}]
    found(net(), big, "entropy")
    assert max(returned) <= len(TENSORS) * 4 * (BINS + 1)
