"""Clamped constants: told where some input of the proof shows a difference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from modelbuild.base.errors import Diagnostic
from modelbuild.graph import files
from modelbuild.graph.clips import clipped
from modelbuild.graph.files import Model
from modelbuild.steps import clamps
from modelbuild.steps.reference import INDEX

LOWEST = float(np.finfo(np.float32).min)
CLAMPED = Diagnostic("value-clamped", "1 value", level="warning")
RAISED = Diagnostic("value-clamped", "3 values", level="info")
OTHER = Diagnostic("precision-fallback", "one node", level="warning")

FILLED = helper.make_node("Where", ["hidden", "fill", "x"], ["f"])
POOLED = helper.make_node("ReduceMax", ["f", "axis"], ["y"], keepdims=0)


def graph(nodes: Sequence[NodeProto], fill: float = LOWEST) -> Model:
    made = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("hidden", TensorProto.BOOL, ["n", 3]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.array(fill, np.float32), "fill"),
            onnx.numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    return Model(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))


def recorded(folder: Path, *hidden: list[list[bool]]) -> Path:
    index = []
    for i, rows in enumerate(hidden):
        x = np.arange(len(rows) * 3, dtype=np.float32).reshape(-1, 3)
        np.savez(folder / f"{i}.npz", **{"in.x": x, "in.hidden": np.array(rows), "out.0": x})
        index.append({"file": f"{i}.npz", "sizes": {"n": len(rows)}, "row": 0})
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def test_a_maximum_over_what_is_not_masked_says_nothing(tmp_path: Path) -> None:
    folder = recorded(tmp_path, [[False, True, True]], [[True, False, False], [False, False, False]])
    said = (CLAMPED, RAISED, OTHER)
    assert clamps.that_matter(said, graph([FILLED, POOLED]), 65504, folder) == (RAISED, OTHER)


def test_one_input_that_shows_it_is_enough(tmp_path: Path) -> None:
    folder = recorded(tmp_path, [[False, True, True]], [[True, True, True]])
    said = (CLAMPED, RAISED, OTHER)
    assert clamps.that_matter(said, graph([FILLED, POOLED]), 65504, folder) == said


def test_a_divisor_says_it(tmp_path: Path) -> None:
    folder = recorded(tmp_path, [[False, True, True]])
    model = graph([helper.make_node("Div", ["x", "fill"], ["y"])], 1e5)
    assert clamps.that_matter((CLAMPED,), model, 65504, folder) == (CLAMPED,)


def test_what_cannot_be_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = graph([helper.make_node("Nothing", ["x"], ["y"], domain="nobody")])
    assert clamps.that_matter((CLAMPED,), model, 65504, recorded(tmp_path, [[True] * 3])) == (CLAMPED,)
    assert "nobody" in capsys.readouterr().err


def test_without_a_warning_nothing_is_run(tmp_path: Path) -> None:
    assert clamps.that_matter((RAISED,), graph([]), 65504, tmp_path / "none") == (RAISED,)


def test_every_constant_is_clipped_and_infinity_is_none(tmp_path: Path) -> None:
    big = np.linspace(-1e6, 1e6, 600, dtype=np.float32)
    values = np.array([1.0, -1e9, np.inf, -np.inf, np.nan], np.float32)
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["b"], value=onnx.numpy_helper.from_array(values, "v"))],
        "branch", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, [5])],
    )  # fmt: skip
    model = graph(
        [
            helper.make_node("Constant", [], ["one"], value_float=1e5),
            helper.make_node("Constant", [], ["some"], value_floats=[1e5, 2.0]),
            helper.make_node("If", ["hidden"], ["y"], then_branch=inner, else_branch=inner),
        ],
        -7e4,
    )
    model.proto.graph.initializer.append(onnx.numpy_helper.from_array(big, "big"))
    onnx.save(model.proto, str(tmp_path / "m.onnx"))
    read = files.read(tmp_path / "m.onnx")
    assert "big" in read.weights
    made = clipped(read, 65504)
    assert read.weights["big"].load().max() == 1e6
    assert made.weights["big"].load().tolist() == np.clip(big, -65504, 65504).tolist()
    assert onnx.numpy_helper.to_array(made.proto.graph.initializer[0]) == -65504
    one, some, branches = made.proto.graph.node
    assert one.attribute[0].f == 65504
    assert list(some.attribute[0].floats) == [65504, 2]
    for attribute in branches.attribute:
        found = onnx.numpy_helper.to_array(attribute.g.node[0].attribute[0].t)
        np.testing.assert_array_equal(found, [1, -65504, np.inf, -np.inf, np.nan])
