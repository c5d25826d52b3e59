"""onnxsim on the structure: what it may see, what it must not lose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import TensorProto, helper

from modelbuild.graph import files
from modelbuild.graph.files import Model
from modelbuild.graph.runtime import session
from modelbuild.graph.simplification import simplify

RNG = np.random.default_rng(0)


def _model(
    folder: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    shape: list[object],
    rank: int = 2,
) -> Model:
    """A graph from ``x`` to ``y``, read from a file so that its large weights stay there."""
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
        [onnx.numpy_helper.from_array(a, n) for n, a in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = folder / "in.onnx"
    files.write(Model(model), path)
    return files.read(path)


def _weight(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def _ops(model: Model) -> list[str]:
    return [n.op_type for n in model.proto.graph.node]


def _same(before: Model, after: Model, x: np.ndarray) -> None:
    expected = session(before).run(None, {"x": x})[0]
    np.testing.assert_allclose(session(after).run(None, {"x": x})[0], expected, rtol=1e-3, atol=1e-3)


def test_a_transposed_weight_becomes_a_weight(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    weights = {"w": _weight(64, 32)}
    before = _model(tmp_path, nodes, weights, ["batch", 32])
    after, said = simplify(_model(tmp_path, nodes, weights, ["batch", 32]))
    assert said == ()
    assert _ops(after) == ["MatMul"]
    _same(before, after, _weight(5, 32))


def test_a_weight_with_two_uses_is_in_the_file_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["y"]),
    ]
    weights = {"w": _weight(32, 64)}
    before = _model(tmp_path, nodes, weights, ["batch", 32])
    after, said = simplify(_model(tmp_path, nodes, weights, ["batch", 32]))
    assert said == ()
    assert [t.name for t in after.proto.graph.initializer] == ["w"]
    _same(before, after, _weight(5, 32))


def test_a_batch_normalization_goes_into_its_convolution(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
    ]
    weights = {"w": _weight(512, 8, 1, 1), "s": _weight(512), "b": _weight(512), "m": _weight(512),
               "v": np.abs(_weight(512)) + 1}  # fmt: skip
    before = _model(tmp_path, nodes, weights, ["batch", 8, 4, 4], 4)
    after, said = simplify(_model(tmp_path, nodes, weights, ["batch", 8, 4, 4], 4))
    assert said == ()
    assert _ops(after) == ["Conv"]
    _same(before, after, _weight(2, 8, 4, 4))


@pytest.mark.parametrize("bias", [False, True], ids=["no-bias", "bias"])
@pytest.mark.parametrize("groups", [1, 4])
def test_batch_normalizations_are_folded_for_any_convolution(tmp_path: Path, bias: bool, groups: int) -> None:
    inputs = ["x", "w", *(["c"] if bias else [])]
    nodes = [
        helper.make_node("Conv", inputs, ["h"], group=groups, pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["h", "s", "b", "m", "v"], ["y"], epsilon=1e-3),
    ]
    weights = {"w": _weight(64, 8 // groups, 3, 3), "s": _weight(64), "b": _weight(64), "m": _weight(64),
               "v": np.abs(_weight(64)), **({"c": _weight(64)} if bias else {})}  # fmt: skip
    before = _model(tmp_path, nodes, weights, ["batch", 8, 4, 4], 4)
    after, _ = simplify(_model(tmp_path, nodes, weights, ["batch", 8, 4, 4], 4))
    assert _ops(after) == ["Conv"]
    _same(before, after, _weight(2, 8, 4, 4))


def test_a_batch_normalization_stays_where_the_convolution_has_another_reader(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "s", "b", "m", "v"], ["n"]),
        helper.make_node("Conv", ["x", "w"], ["i"]),
        helper.make_node("Add", ["n", "h"], ["a"]),
        helper.make_node("Add", ["a", "i"], ["y"]),
    ]
    weights = {"w": _weight(64, 8, 1, 1), "s": _weight(64), "b": _weight(64), "m": _weight(64),
               "v": np.abs(_weight(64)) + 1}  # fmt: skip
    before = _model(tmp_path, nodes, weights, ["batch", 8, 4, 4], 4)
    after, _ = simplify(_model(tmp_path, nodes, weights, ["batch", 8, 4, 4], 4))
    assert "BatchNormalization" in _ops(after)
    _same(before, after, _weight(2, 8, 4, 4))


def test_a_weight_of_two_convolutions_is_folded_for_each(tmp_path: Path) -> None:
    norm = ["s", "b", "m", "v"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["h", *norm], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["i"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["i", *norm], ["y"]),
    ]
    weights = {"w": _weight(16, 16, 3, 3), "s": _weight(16), "b": _weight(16), "m": _weight(16),
               "v": np.abs(_weight(16)) + 1}  # fmt: skip
    before = _model(tmp_path, nodes, weights, ["batch", 16, 4, 4], 4)
    after, _ = simplify(_model(tmp_path, nodes, weights, ["batch", 16, 4, 4], 4))
    assert _ops(after) == ["Conv", "Relu", "Conv"]
    _same(before, after, _weight(2, 16, 4, 4))


def test_the_axes_and_the_names_stay(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    after, _ = simplify(_model(tmp_path, nodes, {}, ["batch", 3]))
    graph = after.proto.graph
    assert [v.name for v in (*graph.input, *graph.output)] == ["x", "y"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_what_onnxsim_cannot_do_is_a_warning_and_the_graph_goes_on(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["nowhere"], ["y"])]
    before = _model(tmp_path, nodes, {}, ["batch", 3])
    after, (said,) = simplify(before)
    assert after is before
    assert (said.code, said.level) == ("simplify-failed", "warning")
    assert said.message.startswith("onnxsim: ")
    assert said.message.endswith("; the unsimplified graph goes on")


@pytest.mark.parametrize("fused", [False, True])
def test_equal_models_give_equal_bytes(tmp_path: Path, fused: bool) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])]
    weights = {"w": _weight(64, 32), "b": _weight(32)}
    written = []
    for name in ("one", "two"):
        after, _ = simplify(_model(tmp_path, nodes, weights, ["batch", 64]), fused=fused)
        files.write(after, tmp_path / name)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_a_bias_that_is_computed_from_constants_does_not_keep_a_normalisation_apart(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["zero"], value=onnx.numpy_helper.from_array(np.float32(0))),
        helper.make_node("CastLike", ["zero", "x"], ["typed"]),
        helper.make_node("Shape", ["w"], ["number"], start=0, end=1),
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Expand", ["number", "one"], ["channels"]),
        helper.make_node("Expand", ["typed", "channels"], ["bias"]),
        helper.make_node("Conv", ["x", "w", "bias"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "s", "b", "m", "v"], ["y"]),
    ]
    weights = {"w": _weight(16, 8, 3, 3), "s": _weight(16), "b": _weight(16), "m": _weight(16)}
    before = _model(tmp_path, nodes, {**weights, "v": np.abs(_weight(16)) + 1}, ["batch", 8, 9, 9], rank=4)
    expected = _model(tmp_path, nodes, {**weights, "v": before.array(before.proto.graph.initializer[4])},
                      ["batch", 8, 9, 9], rank=4)  # fmt: skip
    after, said = simplify(before)
    assert not said
    assert _ops(after) == ["Conv"]
    assert after.proto.graph.node[0].input[1] == "w_normalized"  # by us, without a copy through onnxsim
    _same(expected, after, RNG.normal(size=(2, 8, 9, 9)).astype(np.float32))


def test_a_cast_like_something_computed_is_the_cast_that_it_is(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["n"]),
        helper.make_node("CastLike", ["n", "x"], ["f"]),
        helper.make_node("Mul", ["x", "f"], ["y"]),
    ]
    before = _model(tmp_path, nodes, {}, ["batch", 2])
    expected = _model(tmp_path, nodes, {}, ["batch", 2])
    after, _ = simplify(before)
    assert "CastLike" not in _ops(after)
    _same(expected, after, RNG.normal(size=(3, 2)).astype(np.float32))
