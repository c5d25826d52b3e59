"""The place in a recipe that an error or a warning of a build is told with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.errors import Diagnostic, StepError, about
from modelbuild.building.placing import ErrorPlaces
from modelbuild.building.scheduling.runs import Run
from modelbuild.plan.planning import plan
from modelbuild.recipe.loading import load
from modelbuild.worker.jobs import Surroundings

CONFIG = ["model", "kwargs", "config", "import"]
HALF = "{method: convert, tolerance: {relative_l2: 1.0e-2}}"
RECIPE = """\
model:
  import: net:Net
  kwargs:
    config:
      import: net:Config
  weights: net.pt
inputs:
  image: {shape: [batch, 3, height]}
  mask: {shape: [batch]}
outputs: [y]
dynamic_axes:
  batch: {min: 1, opt: 4, max: 8}
  height: {min: 8, opt: 16, max: 32}
precision:
  fp32:
  fp16: {method: convert, tolerance: {relative_l2: 1.0e-2}}
static:
  - batch: 1
  - {batch: 4}
engines:
  - precision: fp32
  - precision: fp16
    variant: {batch: 4}
verify:
  function: checks:close
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pt").touch()
    return _run(tmp_path, RECIPE)


def _run(folder: Path, text: str) -> Run:
    path = folder / "net.yaml"
    path.write_text(text)
    around = Surroundings(folder, folder, folder / "cache", folder / "build")
    return Run(plan(load(path)), "net.yaml", around, str(path))


def _told(run: Run, action: str, found: Diagnostic, data: dict[str, Any] | None = None) -> str:
    """What stands at the place that an error of this action is told with; the place itself without a line."""
    placed = ErrorPlaces(run).of(found, run.plan.by_id[action].about, data or {})
    assert placed.where is not None
    file, *place = placed.where.split(":")
    assert file == "net.yaml"
    if not place:
        return placed.where
    line, column = map(int, place)
    return Path(run.identity).read_text().splitlines()[line - 1][column - 1 :]


@pytest.mark.parametrize(
    ("action", "code", "message", "data", "there"),
    [
        ("verify fp16", "parity-failed", "too far off", {}, "tolerance: {relative_l2: 1.0e-2}}"),
        ("verify fp32", "parity-failed", "too far off", {}, "fp32:"),
        ("fp16", "fp16-infeasible", "no choice", {}, f"fp16: {HALF}"),
        ("verify fp16.batch4", "not-finite", "NaN", {}, "tolerance: {relative_l2: 1.0e-2}}"),
        ("fp16.batch4", "step-failed", "no such node", {}, "{batch: 4}"),
        ("fp32.batch1", "worker-crashed", "killed by SIGSEGV", {}, "batch: 1"),
        ("fp32.tensorrt-rtx", "engine-failed", "no", {}, "precision: fp32"),
        ("fp16.batch4.tensorrt-rtx", "engine-failed", "no", {}, "precision: fp16"),
        ("export", "export-failed", "no", {}, "import: net:Net"),
        ("export", "baked-axis", "it is fixed", {"axes": ["height"]}, "height: {min: 8, opt: 16, max: 32}"),
        ("verify fp32", "baked-axis", "fails at batch=3", {}, "batch: {min: 1, opt: 4, max: 8}"),
        ("verify fp32", "parity-failed", "`checks:close` says False", {}, "function: checks:close"),
        ("reference", "inputs-mismatch", "forward(x) has no `mask`", {}, "mask: {shape: [batch]}"),
        ("reference", "inputs-mismatch", "forward() takes 1", {}, "inputs:"),
        ("reference", "reference-failed", "it raises", {}, "import: net:Net"),
        ("export", "outputs-mismatch", "the model has 2", {}, "outputs: [y]"),
        ("export", "opset-mismatch", "opset 18", {}, "import: net:Net"),
        ("export", "import-failed", "no", {}, "import: net:Net"),
        ("export", "import-failed", "no", {"about": ("model", "weights")}, "weights: net.pt"),
        ("export", "import-failed", "no", {"about": CONFIG}, "import: net:Config"),
    ],
)  # fmt: skip
def test_an_error_is_placed_at_the_part_of_the_recipe_that_it_is_about(
    run: Run, action: str, code: Any, message: str, data: dict[str, Any], there: str
) -> None:
    assert _told(run, action, Diagnostic(code, message), data) == there


def test_what_the_recipe_leaves_to_defaults_is_placed_at_its_model(tmp_path: Path) -> None:
    run = _run(tmp_path, "model: {import: net:Net}\ninputs: {x: {shape: [2]}}\n")

    assert _told(run, "verify fp32", Diagnostic("parity-failed", "off")) == "import: net:Net}"


def test_a_comment_moves_the_place_and_another_recipe_has_none(run: Run) -> None:
    off = Diagnostic("parity-failed", "off")
    path = Path(run.identity)

    path.write_text("# one\n# two\n" + RECIPE)
    assert ErrorPlaces(run).of(off, ("precision", "fp16"), {}).where == "net.yaml:18:3"
    path.write_text(RECIPE.replace("max: 8", "max: 9"))
    assert _told(run, "verify fp16", off) == "net.yaml"
    path.unlink()
    assert ErrorPlaces(run).of(off, ("precision", "fp16"), {}).where == "net.yaml"


@pytest.mark.parametrize(
    ("action", "code", "message", "there"),
    [
        ("export", "unused-input", "input `mask` does not influence any output", "mask: {shape: [batch]}"),
        ("export", "outputs-mismatch", "output `y` is called `y_1` here", "outputs: [y]"),
        ("export", "stateful-reference", "forward() keeps `n`", "import: net:Net"),
        ("fp16", "precision-fallback", "2 of 9 nodes stay in fp32", f"fp16: {HALF}"),
        ("fp16", "value-clamped", "3 values became 65504", f"fp16: {HALF}"),
        ("fp16", "recipe-invalid", "`tolerance` names the node 'n'", "tolerance: {relative_l2: 1.0e-2}}"),
        ("fp16", "recipe-invalid", "`op_block_list` names the operator 'n'", f"fp16: {HALF}"),
        ("verify fp16", "fp16-underflow", "become zero at `mul`", "tolerance: {relative_l2: 1.0e-2}}"),
        ("verify fp32", "vacuous-check", "no `values` say what `mask` may be", "mask: {shape: [batch]}"),
        ("reference", "data-not-finite", "`image` in a.npz of `verify.data` has 3 NaN", "verify:"),
    ],
)
def test_a_warning_is_placed_as_an_error_is(
    run: Run, action: str, code: Any, message: str, there: str
) -> None:
    assert _told(run, action, Diagnostic(code, message, level="warning")) == there


def test_a_warning_of_calibration_data_is_placed_there_and_not_at_the_proofs(tmp_path: Path) -> None:
    text = (
        "model: {import: net:Net}\ninputs: {x: {shape: [2]}}\nprecision:\n  int8:\n    calibration:\n"
        '      data: "own/*.npz"\nverify: {data: "held/*.npz"}\n'
    )
    said = "`x` in a.npz of `precision.int8.calibration.data` has 3 NaN among its 8 values"
    found = Diagnostic("data-not-finite", said, level="warning")

    assert _told(_run(tmp_path, text), "calibrate", found) == 'data: "own/*.npz"'


def test_a_line_of_the_models_source_is_kept(run: Run) -> None:
    overflow = Diagnostic("fp16-overflow", "too large", where="net.py:12")

    assert ErrorPlaces(run).of(overflow, ("precision", "fp16"), {}) == overflow


def test_what_no_recipe_can_change_and_what_is_only_worth_knowing_have_no_place(run: Run) -> None:
    saved = Diagnostic("changed-while-read", "net.py was saved while `export` read it", level="warning")
    chosen = Diagnostic("exporter-chosen", "torchscript was taken", level="info")

    assert ErrorPlaces(run).of(saved, ("model",), {}) == saved
    assert ErrorPlaces(run).of(chosen, ("model",), {}) == chosen


def test_what_is_raised_within_is_about_the_part_that_was_named_last() -> None:
    with pytest.raises(StepError) as met, about("model", "import"), about("model", "weights"):
        raise StepError(Diagnostic("import-failed", "no"), {"fault": "none"})
    assert met.value.data == {"about": ("model", "weights"), "fault": "none"}
