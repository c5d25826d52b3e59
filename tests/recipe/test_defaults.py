"""Defaults of a project: what a recipe means under a pyproject.toml, and how it is shown."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import modelbuild
from modelbuild.base.errors import RecipeError
from modelbuild.base.scalars import flow, meaning
from modelbuild.cli import main as cli
from modelbuild.plan.planning import plan
from modelbuild.recipe import defaults
from modelbuild.recipe.defaults import NONE, Defaults
from modelbuild.recipe.loading import load, parse
from modelbuild.recipe.resolving import resolve

RECIPE = "model: {import: 'm:Net'}\ninputs: {x: {shape: [4, 3]}}\n"
BOTH = RECIPE + "precision: {fp32: {}, fp16: {}}\n"
HEAD = "[tool.modelbuild]\n"
TOLERANCE = "[tool.modelbuild.tolerance]\nfp16 = {cosine = 0.9}\n"
PRECISION = "[tool.modelbuild.precision]\nfp32 = {}\nfp16 = {method = 'convert', keep_io_types = false}\n"


def read(text: str) -> Defaults:
    return defaults.read(text, "pyproject.toml")


def under(recipe: str, project: str) -> Any:
    return parse(recipe, "net.yaml", "net", read(project)).precision


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 2
    return "\n".join(d.render() for d in caught.value.diagnostics)


# ---- what a recipe means -----------------------------------------------------------------------


def test_a_tolerance_is_for_the_precisions_whose_recipe_names_none() -> None:
    found = under(BOTH, TOLERANCE)
    assert found.fp16.tolerance.named() == {"cosine": 0.9}
    assert found.fp32.tolerance.named() == {"rtol": 1e-3, "atol": 1e-4, "relative_l2": 1e-3, "mismatch": 1e-3}


@pytest.mark.parametrize("knobs", ["", "{}", "{tolerance: {rtol: null}}"])
def test_naming_no_bound_is_naming_no_tolerance(knobs: str) -> None:
    found = under(RECIPE + f"precision:\n  fp16: {knobs}\n", TOLERANCE)
    assert found.fp16.tolerance.named() == {"cosine": 0.9}
    assert found.names == ("fp16",)


def test_the_recipe_s_own_tolerance_stays_as_a_whole() -> None:
    found = under(RECIPE + "precision: {fp16: {tolerance: {relative_l2: 0.5}}}\n", TOLERANCE)
    assert found.fp16.tolerance.named() == {"relative_l2": 0.5}


def test_a_tolerance_alone_asks_for_no_precision() -> None:
    found = under(RECIPE, TOLERANCE + "fp32 = {atol = 2}\n")
    assert found.names == ("fp32",)
    assert found.fp32.tolerance.named() == {"rtol": 0.0, "atol": 2.0}


def test_the_precisions_are_for_recipes_without_any() -> None:
    assert under(RECIPE, PRECISION + TOLERANCE).names == ("fp32", "fp16")
    found = under(RECIPE, PRECISION + TOLERANCE).fp16
    assert (found.method, found.keep_io_types, found.tolerance.named()) == ("convert", False, {"cosine": 0.9})
    assert under(RECIPE + "precision: {bf16: {}}\n", PRECISION).names == ("bf16",)
    assert under(BOTH, PRECISION).fp16.method == "auto"


def test_a_tolerance_within_the_precisions_comes_before_the_other() -> None:
    project = PRECISION.replace("keep_io_types = false", "tolerance = {cosine = 0.8}") + TOLERANCE
    assert under(RECIPE, project).fp16.tolerance.named() == {"cosine": 0.8}


def test_without_a_table_there_are_no_defaults() -> None:
    assert read("[project]\nname = 'modelbuild'\n[tool.other]\n") == NONE
    assert read(HEAD).where == "pyproject.toml"


def test_a_changed_default_changes_the_plan_as_the_recipe_would() -> None:
    text = "precision: {fp32: {}, fp16: {tolerance: {cosine: 0.9}}}\n"
    ours = plan(parse(BOTH, "net.yaml", "net", read(TOLERANCE)))
    assert ours.actions == plan(parse(RECIPE + text, "net.yaml", "net")).actions
    assert ours.actions != plan(parse(BOTH, "net.yaml", "net")).actions


# ---- which file --------------------------------------------------------------------------------


def test_the_nearest_file_above_the_recipe_counts_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models/inner"
    models.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (models / "net.yaml").write_text(BOTH)
    (tmp_path / "models/pyproject.toml").write_text("[project]\n")
    (tmp_path / "pyproject.toml").write_text(TOLERANCE)
    (tmp_path / "elsewhere/pyproject.toml").write_text(TOLERANCE.replace("0.9", "0.5"))
    for folder, path in (
        ("models/inner", "net.yaml"), ("models", "inner/net.yaml"), ("elsewhere", "../models/inner/net.yaml"),
        ("elsewhere", str(models / "net.yaml")),
    ):  # fmt: skip
        monkeypatch.chdir(tmp_path / folder)
        fp16 = load(Path(path)).precision.fp16
        assert fp16 is not None
        assert fp16.tolerance.named() == {"cosine": 0.9}, folder


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() == 0:
        pytest.skip("root may read everything")
    (tmp_path / "net.yaml").write_text(BOTH)
    (tmp_path / "pyproject.toml").write_text(TOLERANCE)
    (tmp_path / "pyproject.toml").chmod(0)
    assert "pyproject.toml: cannot read the project file" in refused(load, tmp_path / "net.yaml")


# ---- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.modelbuild.tolerance]\nfp17 = {}", "unknown key `fp17` in `tolerance`"),
        (
            "[tool.modelbuild.tolerance.fp16]\ncosin = 1",
            "unknown key `cosin` in `tolerance.fp16`\nhint: did you mean",
        ),
        (
            "[tool.modelbuild.tolerance.fp16]\ncosine = 2",
            "`tolerance.fp16.cosine` must be at most 1, not `2`",
        ),
        ("[tool.modelbuild.tolerance.fp16]\ncosine = nan", "`tolerance.fp16.cosine` must be a finite number"),
        (
            "[tool.modelbuild.tolerance.fp16]\ncosine = '1'",
            "`tolerance.fp16.cosine` must be a number, not text `1`",
        ),
        ("[tool.modelbuild.tolerance.fp16]\ncosine = 1979-05-27", "must be a number, not `1979-05-27`"),
        ("[tool.modelbuild]\ntolerance = 1", "`tolerance` must be a mapping, not `1`"),
        ("[tool.modelbuild]\nprecision = ['fp16']", "`precision` must be a mapping, not a list"),
        ("[tool.modelbuild]\nprecision = {}", "`precision` names no precision\nhint: add `fp32:`"),
        ("[tool.modelbuild]\nprecison = {}", "unknown key `precison`\nhint: did you mean `precision`?"),
        ("[tool.modelbuild.precision.fp16]\nmethod = 'hlaf'", "not text `hlaf`\nhint: did you mean `half`?"),
        (
            "[tool.modelbuild.precision.fp16]\nmin_positive_val = 2\nmax_finite_val = 1",
            "`precision.fp16.min_positive_val` is not below `max_finite_val`",
        ),
        (
            "[tool.modelbuild.precision.fp16]\nmethod = 'half'\nnode_block_list = ['a']",
            "`precision.fp16.node_block_list` does nothing with `method: half`",
        ),
    ],
)
def test_a_mistake_in_the_table_is_told_like_one_in_a_recipe(text: str, said: str) -> None:
    told = refused(read, text + "\n")
    assert said in told
    assert told.startswith("error[recipe-invalid]: pyproject.toml: [tool.modelbuild]: ")


def test_every_mistake_is_told_at_once() -> None:
    told = refused(read, HEAD + "a = 1\nb = 2\nout = 3\n")
    assert [line for line in told.splitlines() if line.startswith("error")] == [
        "error[recipe-invalid]: pyproject.toml: [tool.modelbuild]: `out` must be text, not `3`",
        "error[recipe-invalid]: pyproject.toml: [tool.modelbuild]: unknown key `a`",
        "error[recipe-invalid]: pyproject.toml: [tool.modelbuild]: unknown key `b`",
    ]


def test_toml_that_cannot_be_read_is_told_with_its_line() -> None:
    told = refused(read, HEAD + "\nout = x\n")
    assert told.startswith("error[recipe-invalid]: pyproject.toml:3:7: not valid TOML: Invalid value")
    assert "pyproject.toml:2: not UTF-8 text" in refused(
        defaults.read, HEAD.encode() + b"a = '\xff'", "pyproject.toml"
    )


def test_a_default_that_does_not_suit_a_recipe_is_told_with_its_file() -> None:
    project = "[tool.modelbuild.precision]\nfp16 = {method = 'half'}\n"
    told = refused(
        parse, "model: {onnx: m.onnx}\ninputs: {x: {shape: [4]}}\n", "net.yaml", "net", read(project)
    )
    assert told.startswith(
        "error[recipe-invalid]: net.yaml:1:1: `method: half` needs a PyTorch model, and `model.onnx` is none "
        "(precision.fp16.method of pyproject.toml)\n"
    )


def test_a_misspelt_key_is_understood_although_the_project_has_a_default_for_it() -> None:
    told = refused(parse, RECIPE + "precison: {fp16: {}}\n", "net.yaml", "net", read(PRECISION))
    assert told.endswith("hint: did you mean `precision`?")
    assert told.count("error[") == 1


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "a" + ".a" * 200_000 + " = 1\n",
        "[tool.modelbuild" + '."a"' * 100_000 + "]\n",
        HEAD + "b = {a" + " . a" * 100_000 + " = 1}\n",
        HEAD + "a = " + "[" * 200_000,
        HEAD + "a = " + "{a=" * 100_000,
        HEAD + "a = " + "9" * 500_000,
        HEAD + "a = '" + "a" * 1_000_000 + "'\n",
        HEAD + "a" * 1_000_000,
        HEAD + "a = 'x'\n" * 100_000,
        HEAD + '"' * 900_000,
        HEAD + "\n".join(f"{'a.' * 40}a{i} = 1" for i in range(5000)),
        HEAD + "#" * (2 << 20),
    ],
    ids=["parts", "quoted-parts", "inner-parts", "lists", "tables", "digits", "text", "word", "twice",
         "quotes", "many", "large"],
)  # fmt: skip
def test_a_hostile_file_costs_little_and_is_refused(text: str) -> None:
    started = time.process_time()
    assert "error[recipe-invalid]: pyproject.toml" in refused(read, text)
    assert time.process_time() - started < 10  # 200 000 parts take tomllib six minutes


# ---- check --resolved --------------------------------------------------------------------------

FULL = """\
name: full
model: {import: "m:Net", kwargs: {a: .inf, b: -.inf, c: 1.0e-7, d: "on", e: null, f: [1, 2.0, {g: "x: y"}]}}
inputs:
  values: {shape: [batch, 3], values: {low: 0, high: 2}, dtype: int64}
  "tolerance": {shape: []}
  "a#b": {shape: [batch, time], values: {constant: 1}}
dynamic_axes: {batch: {min: 1, opt: 2, max: 8}, time: {min: 1, opt: 2, max: 8}}
outputs: ["no", y]
precision: {fp32: , fp16: {method: mixed, tolerance: {rtol: 1}}, bf16: {}}
static: [{batch: 1}, {batch: 1, time: 2}]
engines:
  - {precision: fp16, builder: {workspace: 4GiB}, targets: [sm89, sm86]}
  - {precision: fp32, backend: tensorrt, variant: {batch: 1, time: 2}}
  - {precision: bf16, variant: {batch: 1}, profiles: [{time: {min: 1, opt: 1, max: 2}}]}
verify: {data: "x/*.npz", function: "m:f"}
"""
ONNX = "model: {onnx: m.onnx}\ninputs: {x: {shape: [4]}}\n"
WEIGHTS = 'model: {import: "m:Net", weights: w.pt}\ninputs: {x: {shape: [4]}}\n'
CHECKPOINT = WEIGHTS.replace("w.pt", "{file: w.pt, key: ema.model, strip_prefix: module.}")


@pytest.mark.parametrize("project", ["", TOLERANCE, PRECISION + TOLERANCE])
@pytest.mark.parametrize("text", [RECIPE, BOTH, FULL, ONNX, WEIGHTS, CHECKPOINT])
def test_what_is_written_out_is_a_recipe_that_means_the_same(tmp_path: Path, text: str, project: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    (tmp_path / "m.onnx").touch()
    (tmp_path / "w.pt").touch()
    (tmp_path / "pyproject.toml").write_text(project)
    found = resolve(tmp_path / "r.yaml")
    again = parse(found.text(), "resolved.yaml", "other")
    meant = load(tmp_path / "r.yaml")
    assert again.name == meant.name
    assert (plan(again).actions, plan(again).artifacts) == (plan(meant).actions, plan(meant).artifacts)
    assert yaml.safe_load(found.text()) == found.data()  # another reader sees the same


@pytest.mark.parametrize("written", ["w.pt", "{file: w.pt}", "{file: w.pt, key: null, strip_prefix: ~}"])
def test_a_file_alone_is_weights_like_the_mapping_of_it(tmp_path: Path, written: str) -> None:
    (tmp_path / "r.yaml").write_text(WEIGHTS.replace("w.pt", written))
    (tmp_path / "w.pt").touch()
    found = resolve(tmp_path / "r.yaml")
    assert found.data()["model"]["weights"] == yaml.safe_load(written)
    made = plan(load(tmp_path / "r.yaml")).source
    assert made is not None
    assert made.weights == "w.pt"  # as it always was in the facts of a key


def test_nothing_is_left_to_write_out_the_second_time(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(FULL)
    first = resolve(tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text(first.text())
    assert resolve(tmp_path / "r.yaml").data() == first.data()


def test_each_value_says_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.yaml").write_text(RECIPE + "opset: 17\n")
    (tmp_path / "m.py").write_text("Net = None\n")
    (tmp_path / "pyproject.toml").write_text(PRECISION + TOLERANCE)
    assert cli.main(["check", "net.yaml", "--resolved"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "name: net # default", "opset: 17 # recipe", "shape: [4, 3] # recipe", "dtype: float32 # default",
        "method: convert # pyproject.toml", "keep_io_types: false # pyproject.toml",
        "disable_shape_infer: false # default", "tolerance: {cosine: 0.9} # pyproject.toml",
        "tolerance: {rtol: 0.001, atol: 0.0001, relative_l2: 0.001, mismatch: 0.001} # default",
        "# outputs: the exporter's names # default",
    ):  # fmt: skip
        assert line in lines
    assert cli.main(["check", "net.yaml", "--resolved", "--format", "json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["recipes"]
    assert told["resolved"]["precision"]["fp16"]["tolerance"] == {"cosine": 0.9}
    assert told["origins"]["precision.fp16.tolerance"] == "pyproject.toml"
    assert (told["origins"]["opset"], told["origins"]["exporter"]) == ("recipe", "default")
    assert modelbuild.resolve("net.yaml") == told["resolved"]


@pytest.mark.parametrize(
    ("recipe", "project", "origin"),
    [("", "", "default"), ("", "[tool.modelbuild.precision]\nbf16 = {}\n", "pyproject.toml"),
     ("precision: {fp16: }\n", "[tool.modelbuild.precision]\nbf16 = {}\n", "recipe")],
)  # fmt: skip
def test_a_precision_that_says_no_more_than_its_name_still_says_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, project: str, origin: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.yaml").write_text(RECIPE + recipe)
    (tmp_path / "pyproject.toml").write_text(project)
    found = resolve(Path("net.yaml"))
    assert f"precision: # {origin}" in [" ".join(line.split()) for line in found.text().splitlines()]
    assert found.origins()["precision"] == origin


def test_a_wrong_recipe_among_others_leaves_yaml_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", RECIPE), ("b", "x: 1\n"), ("c", BOTH)):
        (tmp_path / f"{name}.yaml").write_text(text)
    assert cli.main(["check", ".", "--resolved"]) == 2
    said = capsys.readouterr()
    assert [d["name"] for d in yaml.safe_load_all(said.out)] == ["a", "c"]
    assert "b.yaml:1:1: unknown key `x`" in said.err


@pytest.mark.parametrize("value", [1e-7, 1e16, 65504.0, 0.1, float("inf"), -1.5e-300])
def test_a_number_is_one_to_every_reader(value: float) -> None:
    assert (meaning(flow(value)), yaml.safe_load(flow(value))) == (value, value)
