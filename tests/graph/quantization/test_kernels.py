"""What ONNX Runtime's own int8 kernels make of a file, against its computation in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelbuild.graph import files
from modelbuild.graph.quantization import kernels
from modelbuild.graph.quantization.points import Int8Options
from modelbuild.machine import instructions
from modelbuild.wording.kernels import told
from tests.graph.quantization.pairs import Arrays, made, model, ran

RNG = np.random.default_rng(0)
GIVEN = {"x": RNG.standard_normal((4, 16), np.float32)}


def layers() -> files.Model:
    nodes = [
        helper.make_node("Gemm", ["x", "v"], ["m"], "first"),
        helper.make_node("Relu", ["m"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w"], ["y"], "second"),
    ]
    weights = {name: RNG.standard_normal((16, 16), np.float32) for name in ("v", "w")}
    return model(nodes, {"x": [4, 16]}, {"y": [4, 16]}, weights)


def written(folder: Path, feeds: Arrays = GIVEN, **asked: bool) -> tuple[Path, files.Model]:
    whole, _ = made(layers(), feeds, Int8Options(base="fp32", **asked))
    files.write(whole, folder / "m.onnx")
    return folder / "m.onnx", whole


def test_the_figure_is_that_of_a_run_at_all_levels_against_one_in_float(tmp_path: Path) -> None:
    path, whole = written(tmp_path)

    found = kernels.measured(path, [GIVEN])

    (exact,), (other,) = ran(whole, GIVEN, "ORT_DISABLE_ALL"), ran(whole, GIVEN, "ORT_ENABLE_ALL")
    error = float(np.square(exact.astype(np.float64) - other).sum())
    expected = 10 * np.log10(np.square(exact.astype(np.float64)).sum() / error) if error else None
    assert found["sqnr"] == (None if expected is None else pytest.approx(expected, abs=3))
    assert found["instructions"] == list(instructions.of_int8())
    here = instructions.saturates(instructions.of_int8())
    assert found["why"] == ("saturation" if here else "rounding")


def test_weights_of_a_reduced_range_never_saturate(tmp_path: Path) -> None:
    assert not kernels.is_reduced(written(tmp_path)[1])
    path, whole = written(tmp_path, reduce_range=True)
    assert kernels.is_reduced(whole)

    assert kernels.measured(path, [GIVEN])["why"] == "rounding"


def test_what_does_not_load_is_told_with_the_reason(tmp_path: Path) -> None:
    path, whole = written(tmp_path)
    whole.proto.graph.node[-1].op_type = "Gemmm"
    onnx.save(whole.proto, path)

    with pytest.raises(kernels.NotRun, match=r"ONNX Runtime does not run it: .*Gemmm"):
        kernels.measured(path, [GIVEN])


def test_of_whole_numbers_there_is_no_ratio(tmp_path: Path) -> None:
    path, whole = written(tmp_path)
    graph = whole.proto.graph
    graph.node.append(helper.make_node("ArgMax", ["y"], ["best"], "best"))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("best", TensorProto.INT64, [1, 16]))
    files.write(whole, path)

    with pytest.raises(kernels.NotRun, match="it gives no floats"):
        kernels.measured(path, [GIVEN])


def test_a_figure_is_told_with_the_reason_for_it() -> None:
    figure = {"sqnr": 13.42, "instructions": [], "why": "saturation"}
    assert told(figure) == (
        "13.4 dB against its computation in float (int8 kernels): without VNNI they add two products in 16 "
        "bits, where large ones do not fit; `reduce_range: true` makes a file for such processors"
    )
    figure = {"sqnr": 54.0, "instructions": ["amx_int8", "avx_vnni"], "why": "rounding"}
    assert told(figure) == (
        "54.0 dB against its computation in float (int8 kernels with amx_int8, avx_vnni): they round in "
        "another order"
    )
    exact = {**figure, "sqnr": None}
    assert told(exact).startswith("equal to its computation in float")
    assert told({"not_run": "it gives no floats"}) == "not run: it gives no floats"
