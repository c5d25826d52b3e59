"""Calibration of the fp32 graph: on which samples, what is written, what is told and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.base.tensors import Axis, TensorSpec, Values
from modelbuild.steps.base import Outcome
from modelbuild.steps.calibrate import Calibrate, load
from modelbuild.steps.reference import Sampling
from modelbuild.steps.samples import random_inputs
from tests.graph import graph_zoo

X = TensorSpec("x", "float32", ("batch", 4))
AXES = (Axis("batch", 1, 2, 8),)
KEY = "precision.int8.calibration.data"
NET = """
    g (float[batch, 4] x) => (float[batch, 2] y)
    <float[4, 4] a = {1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0},
     float[2, 4] b = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0}>
    { h = MatMul(x, a)  r = Relu(h)  y = Gemm<transB = 1>(r, b) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(tmp_path / "model", NET)


def saved(folder: Path, text: str) -> Path:
    folder.mkdir()
    onnx.save(graph_zoo.parse(text), folder / "net.fp32.onnx")
    return folder


def sampling(*data: str, **changed: Any) -> Sampling:
    usual: dict[str, Any] = {
        "inputs": (X,), "axes": AXES, "rows": ({"batch": 1}, {"batch": 2}, {"batch": 8}), "samples": 512,
        "seed": 0, "data": data,
    }  # fmt: skip
    return Sampling(**{**usual, **changed})


def step(*data: str, apart: tuple[str, ...] = (), method: Any = "minmax", **changed: Any) -> Calibrate:
    return Calibrate(
        sampling=sampling(*data, **changed), method=method, op_types=("MatMul", "Gemm"), apart=apart
    )


def run(calibrate: Calibrate, model: Path, base: Path) -> tuple[dict[str, float], Outcome]:
    out = base / "out"
    out.mkdir(exist_ok=True)
    outcome = calibrate.run_at(base, {"model": model}, out)
    assert [p.name for p in out.iterdir()] == ["ranges.json"]
    return load(out), outcome


def write(path: Path, *values: float, batch: int = 1, **arrays: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    held = arrays or {"x": np.tile(np.float32([values]), (batch, 1))}
    np.savez(path, **held)


def refused(calibrate: Calibrate, model: Path, base: Path) -> Diagnostic:
    with pytest.raises(StepError) as raised:
        run(calibrate, model, base)
    (said,) = raised.value.diagnostics
    assert said.code == "inputs-mismatch"
    return said


def test_the_ranges_are_those_over_all_files(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "data/a.npz", 1, -2, 0, 0.5)
    write(tmp_path / "data/b.npz", -9, 3, 0, 0, batch=3)
    found, outcome = run(step("data/*.npz"), model, tmp_path)
    assert found == {"x": 9.0, "r": 3.0}
    rows = json.loads((tmp_path / "out/ranges.json").read_text())
    assert rows == {
        "r": {"high": 3.0, "low": 0.0, "threshold": 3.0}, "x": {"high": 3.0, "low": -9.0, "threshold": 9.0},
    }  # fmt: skip
    assert outcome.diagnostics == ()
    assert outcome.data == {"source": "data", "samples": 2, "tensors": 2}


def test_only_operators_that_are_asked_for_have_ranges(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "data/a.npz", 1, -2, 0, 0.5)
    only = Calibrate(sampling=sampling("data/*.npz"), method="minmax", op_types=("Gemm",))
    assert list(run(only, model, tmp_path)[0]) == ["r"]


def test_the_first_files_count_up_to_the_number_of_samples(model: Path, tmp_path: Path) -> None:
    for number, value in enumerate([1, 2, 30, 40]):
        write(tmp_path / f"data/{number}.npz", value, 0, 0, -1)
    found, outcome = run(step("data/*.npz", samples=2), model, tmp_path)
    assert (found["x"], outcome.data["samples"]) == (2.0, 2)


def test_the_method_decides(model: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    for number in range(200):
        write(tmp_path / f"data/{number:03}.npz", x=np.roll(values, number, axis=1) * (1 + number / 1000))
    write(tmp_path / "data/last.npz", 100, 0, 0, 0)
    found = {m: run(step("data/*.npz", method=m), model, tmp_path)[0]["x"] for m in ("minmax", "entropy")}
    assert found["minmax"] == 100
    assert found["entropy"] < 10


def test_without_data_random_inputs_serve_and_it_is_said(model: Path, tmp_path: Path) -> None:
    found, outcome = run(step(), model, tmp_path)
    (said,) = outcome.diagnostics
    assert (said.code, said.level) == ("int8-unproven", "warning")
    assert said.message == "calibrated on random inputs, which say nothing of the ranges of real ones"
    assert said.hint == f"name files of real ones with `{KEY}`"
    assert outcome.data == {"source": "random", "samples": 32, "tensors": 2}
    assert 2 < found["x"] < 6


def test_random_inputs_are_none_of_the_proofs(model: Path, tmp_path: Path) -> None:
    found, _ = run(step(), model, tmp_path)
    proofs = [
        random_inputs((X,), row, (0, number, sample))["x"]
        for number, row in enumerate(sampling().rows)
        for sample in range(20)
    ]
    assert found["x"] not in {float(v) for array in proofs for v in np.abs(array).ravel()}


def test_where_no_file_has_the_pinned_sizes_random_inputs_serve(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "data/a.npz", 1, -2, 0, 0.5)
    write(tmp_path / "data/b.npz", 50, 0, 0, 0, batch=4)
    found, outcome = run(step("data/*.npz", axes=(), rows=({"batch": 4},)), model, tmp_path)
    assert (found["x"], outcome.diagnostics) == (50.0, ())
    _, outcome = run(step("data/*.npz", axes=(), rows=({"batch": 5},)), model, tmp_path)
    (said,) = outcome.diagnostics
    assert said.message.startswith(f"no file of `{KEY}` has batch=5: calibrated on random inputs")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"z": np.ones(3)}, "a.npz has no array `x`; it has `z`"),
        (
            {"x": np.ones((9, 4), np.float32)},
            "a.npz: `x` has shape [9, 4]: batch=9 is outside its range of 1 to 8",
        ),
        ({"x": np.ones((1, 4), np.int64)}, "a.npz: `x` is int64, the recipe says float32"),
    ],
)
def test_files_that_hold_no_such_inputs_are_refused(
    arrays: dict[str, Any], said: str, model: Path, tmp_path: Path
) -> None:
    write(tmp_path / "data/a.npz", **arrays)
    assert refused(step("data/*.npz"), model, tmp_path).message == said


def test_a_pattern_that_matches_nothing_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match=f"`{KEY}`: `data/\\*.npz` matches no file in") as raised:
        step("data/*.npz").declared(tmp_path)
    assert raised.value.data["about"] == (*KEY.split("."), 0)


def test_hints_name_the_key_of_the_calibration(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "data/a.npz", z=np.ones(3))
    assert f"`{KEY}` takes .npz files" in str(refused(step("data/*.npz"), model, tmp_path).hint)


def test_values_that_are_no_numbers_are_told_and_leave_no_threshold(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "data/a.npz", 1, math.nan, 0, 0)
    found, outcome = run(step("data/*.npz"), model, tmp_path)
    assert math.isnan(found["x"])
    data, tensors = outcome.diagnostics
    assert data.message == f"`x` in a.npz of `{KEY}` has 1 NaN among its 4 values"
    assert "stay out of int8" in str(data.hint)
    assert (tensors.code, tensors.level) == ("not-finite", "warning")
    assert tensors.message.startswith("`x`, `r` held NaN or infinity")
    assert json.loads((tmp_path / "out/ranges.json").read_text())["x"]["threshold"] is None


def test_values_that_the_graph_does_not_take_are_told_with_their_file(tmp_path: Path) -> None:
    text = """g (int64[batch, 2] ids) => (float[batch, 2, 2] y)
    <float[3, 2] table = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, float[2, 2] w = {1.0, 2.0, 3.0, 4.0}>
    { e = Gather(table, ids)  y = MatMul(e, w) }"""
    ids = TensorSpec("ids", "int64", ("batch", 2), Values(low=0, high=3))
    folder = saved(tmp_path / "model", text)
    assert run(step(inputs=(ids,)), folder, tmp_path)[0] == {"e": 6.0}
    write(tmp_path / "data/a.npz", ids=np.array([[0, 1]]))
    assert run(step("data/*.npz", inputs=(ids,)), folder, tmp_path)[0] == {"e": 4.0}
    write(tmp_path / "data/b.npz", ids=np.array([[0, 3]]))
    said = refused(step("data/*.npz", inputs=(ids,)), folder, tmp_path)
    assert said.message.startswith(f"the fp32 graph does not run on b.npz of `{KEY}`: ")


def test_calibration_and_proof_share_no_sample(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "data/a.npz", 1, 2, 3, 4)
    write(tmp_path / "data/b.npz", 5, 6, 7, 8)
    write(tmp_path / "proof/c.npz", 1, 2, 3, 5)
    apart = step("data/*.npz", apart=("proof/*.npz",))
    assert run(apart, model, tmp_path)[0]["x"] == 8
    both = step("data/*.npz", apart=("data/b.npz", "proof/*.npz"))
    said = refused(both, model, tmp_path)
    assert said.message == f"b.npz is in both `{KEY}` and `verify.data`"
    write(tmp_path / "proof/d.npz", 5, 6, 7, 8, batch=2)
    said = refused(apart, model, tmp_path)
    assert said.message == f"b.npz of `{KEY}` and d.npz of `verify.data` hold the same sample"


def test_the_proofs_files_are_facts_and_what_is_wrong_with_them_is_told_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "data/a.npz", 1, 2, 3, 4)
    write(tmp_path / "proof/c.npz", 1, 2, 3, 5)
    told = step("data/*.npz", apart=("proof/*.npz",)).declared(tmp_path)
    assert told == (tmp_path / "data/a.npz", tmp_path / "proof/c.npz")
    assert step("data/*.npz", apart=("none/*.npz",)).declared(tmp_path) == (tmp_path / "data/a.npz",)


def test_a_graph_of_other_floats_has_the_ranges_of_its_float32_self(tmp_path: Path) -> None:
    text = """g (float16[batch, 4] x) => (float16[batch, 4] y)
    { w = Constant<value = float16[4, 4] {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}>()
      y = MatMul(x, w) }"""
    write(tmp_path / "data/a.npz", x=np.float16([[1, -2, 0, 0.5]]))
    half = TensorSpec("x", "float16", ("batch", 4))
    found, _ = run(step("data/*.npz", inputs=(half,)), saved(tmp_path / "model", text), tmp_path)
    assert list(found.values()) == [2.0]
