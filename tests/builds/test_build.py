"""A whole build, from a recipe to published files, with a tiny model."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from modelbuild.graph.runtime import session_of_file
from modelbuild.inspection import inspect_file
from tests.conftest import RECIPE, TINY, VARIANTS, Project


def test_a_recipe_becomes_proven_files_and_the_second_build_runs_nothing(project: Project) -> None:
    project.recipe(*VARIANTS)
    first = project.build()
    assert first.code == 0
    assert first.statuses == {
        "net.fp32.onnx": "built",
        "net.fp16.onnx": "built",
        "net.fp32.batch1.onnx": "built",
        "net.fp16.batch1.onnx": "built",
    }
    for name, artifact in first.artifacts.items():
        parity = artifact["parity"]
        assert parity["passed"]
        assert parity["evidence"] == ("cpu" if "fp32" in name else "fp16-simulated")
        assert parity["outputs"]["y"]["headroom"] >= 1
        assert project.output(name).stat().st_size == artifact["bytes"]
        onnx.checker.check_model(str(project.output(name)), full_check=True)
        graph = onnx.load(str(project.output(name))).graph
        inside = {o for node in graph.node for o in node.output} - {"y"}
        assert {v.name for v in graph.value_info} == inside != set()
        listed = inspect_file(project.output(name), nodes=True)["node_list"]
        lines = [n["source"] for n in listed if n["source"]]
        assert [line for line in lines if line.endswith(" in forward")] == lines != []
    shapes = first.artifacts["net.fp32.onnx"]["parity"]["shapes"]
    assert shapes == [{"batch": 1}, {"batch": 2}, {"batch": 3}, {"batch": 8}]
    manifest = json.loads((project.folder / "build/net/manifest.json").read_text())
    assert [a["sha256"] for a in manifest["artifacts"]] == [a["sha256"] for a in first.artifacts.values()]

    second = project.build()
    assert second.code == 0
    assert set(second.statuses.values()) == {"cached"}
    assert second.stderr == ""
    assert [a["sha256"] for a in second.artifacts.values()] == [a["sha256"] for a in first.artifacts.values()]


def test_turning_a_knob_rebuilds_what_depends_on_it_and_says_why(warm: Project) -> None:
    warm.recipe(*VARIANTS)
    warm.build()
    warm.recipe("precision: {fp32: {}, fp16: {method: convert, keep_io_types: false}}", VARIANTS[1])
    turned = warm.build()
    assert turned.statuses == {
        "net.fp32.onnx": "cached",
        "net.fp16.onnx": "built",
        "net.fp32.batch1.onnx": "cached",
        "net.fp16.batch1.onnx": "built",
    }
    assert turned.artifacts["net.fp16.onnx"]["reason"] == "precision.fp16.keep_io_types: true -> false"
    session = session_of_file(warm.output("net.fp16.onnx"))
    assert session.get_inputs()[0].type == "tensor(float16)"

    warm.recipe(*VARIANTS)
    back = warm.build()
    assert set(back.statuses.values()) == {"cached"}


def test_a_changed_tolerance_measures_again_and_exports_nothing(warm: Project) -> None:
    warm.build()
    warm.recipe("precision: {fp32: {tolerance: {relative_l2: 1.0e-5}}}")
    again = warm.build()
    artifact = again.artifacts["net.fp32.onnx"]
    assert artifact["status"] == "cached"
    assert artifact["reason"].startswith("proven again: precision.")
    assert "export" not in again.stderr


def test_a_changed_model_file_is_noticed(warm: Project) -> None:
    before = warm.build().artifacts["net.fp32.onnx"]["sha256"]
    warm.write("net.py", TINY.replace("torch.relu", "torch.tanh"))
    again = warm.build()
    assert again.artifacts["net.fp32.onnx"]["reason"] == "net.py:Net changed"
    assert again.artifacts["net.fp32.onnx"]["sha256"] != before


def test_a_failing_artifact_is_not_published_and_the_good_one_stays(warm: Project) -> None:
    good = warm.build().artifacts["net.fp32.onnx"]["sha256"]
    warm.write(
        "net.py", TINY.replace("return self", "x = x * 2 if x.shape[0] == 1 else x\n        return self")
    )
    failed = warm.build()
    assert failed.code == 3
    assert failed.statuses == {"net.fp32.onnx": "failed"}
    assert "only at batch=1" in failed.said("parity-failed")
    assert failed.artifacts["net.fp32.onnx"]["path"] is None
    import hashlib

    assert hashlib.sha256(warm.output("net.fp32.onnx").read_bytes()).hexdigest() == good


def test_a_published_file_that_was_edited_is_put_right_from_the_store(warm: Project) -> None:
    good = warm.build().artifacts["net.fp32.onnx"]
    warm.output("net.fp32.onnx").write_bytes(b"scribble")
    again = warm.build()
    assert again.artifacts["net.fp32.onnx"]["reason"] == "its file was changed"
    assert warm.output("net.fp32.onnx").stat().st_size == good["bytes"]


@pytest.mark.cold  # the seed is read as Python starts
def test_the_bytes_do_not_depend_on_folder_or_hash_seed(built: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "another/deeper", {"PYTHONHASHSEED": "2"}, cold=True)
    project.write("net.py", TINY)
    project.recipe(*VARIANTS)
    answer = project.build()
    assert answer.code == 0
    for name in answer.artifacts:
        assert project.output(name).read_bytes() == built.output(name).read_bytes()
        assert str(tmp_path).encode() not in project.output(name).read_bytes()


def test_a_dry_run_says_what_and_why_and_does_nothing(project: Project) -> None:
    dry = project.build("--dry-run")
    assert dry.code == 0
    assert dry.statuses == {"net.fp32.onnx": "stale"}
    assert dry.artifacts["net.fp32.onnx"]["reason"] == "never built"
    assert not (project.folder / "build").exists()


def test_only_builds_what_matches_and_what_it_needs(project: Project) -> None:
    project.recipe(*VARIANTS)
    answer = project.build("--only", "*.fp16.batch1.onnx")
    assert answer.statuses == {"net.fp16.batch1.onnx": "built"}
    assert sorted(p.name for p in (project.folder / "build/net").iterdir()) == [
        "manifest.json",
        "net.fp16.batch1.onnx",
    ]
    nothing = project.build("--only", "*.int8.onnx")
    assert nothing.code == 2
    assert nothing.said("recipe-invalid") == "no artifact matches `*.int8.onnx`"


def test_force_builds_what_is_fresh(warm: Project) -> None:
    warm.build()
    forced = warm.build("--force")
    assert forced.statuses == {"net.fp32.onnx": "built"}
    assert forced.artifacts["net.fp32.onnx"]["reason"] == "forced"


def test_verify_measures_the_published_file_itself(warm: Project) -> None:
    warm.build()
    good = warm.run("verify", "net.yaml", "--format", "json")
    assert good.code == 0
    assert good.artifacts["net.fp32.onnx"]["parity"]["passed"]
    path = warm.output("net.fp32.onnx")
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if tensor.name.endswith("second.weight") or list(tensor.dims) == [3, 8]:
            array = onnx.numpy_helper.to_array(tensor) + np.float32(0.1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    onnx.save(model, str(path))
    bad = warm.run("verify", "net.yaml", "--format", "json")
    assert bad.code == 3
    assert "relative L2" in bad.said("parity-failed")


def test_one_invalid_recipe_stops_all_unless_told_to_keep_going(warm: Project) -> None:
    warm.write("bad.yaml", RECIPE.replace("dynamic_axes", "dynamic_axis"))
    stopped = warm.run("build", "net.yaml", "bad.yaml", "--format", "json")
    assert stopped.code == 2
    assert not (warm.folder / "build").exists()
    went_on = warm.run("build", "net.yaml", "bad.yaml", "--format", "json", "--keep-going")
    assert went_on.code == 2
    assert went_on.statuses == {"net.fp32.onnx": "cached"}
    assert warm.output("net.fp32.onnx").exists()
    assert [r["status"] for r in went_on.report["recipes"]] == ["ok", "failed"]


def test_a_recipe_that_fails_does_not_stop_the_others(warm: Project) -> None:
    warm.recipe(base=RECIPE.replace("net:Net", "net:Nat"), name="other.yaml")
    both = warm.run("build", "other.yaml", "net.yaml", "--format", "json")
    assert both.code == 1
    assert both.statuses["net.fp32.onnx"] == "cached"
    assert warm.output("net.fp32.onnx").exists()
    assert both.said("import-failed") == "module `net` has no attribute `Nat`; did you mean `Net`?"


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_model_that_only_takes_multiples_is_proven_at_multiples(project: Project, exporter: str) -> None:
    project.write(
        "net.py",
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.reshape(x.shape[0], 2, -1, 4).sum(-1) + 1\n",
    )
    project.write(
        "net.yaml",
        'model: {import: "net:Net"}\n'
        f"exporter: {exporter}\nopset: 18\n"
        "inputs: {x: {shape: [batch, length]}}\n"
        "dynamic_axes: {batch: {min: 1, opt: 2, max: 4}, length: {min: 8, opt: 16, max: 64}}\n"
        "verify: {samples: 2}\n",
    )
    answer = project.build()
    assert answer.code == 0, answer.stdout
    shapes = next(iter(answer.artifacts.values()))["parity"]["shapes"]
    assert {s["length"] for s in shapes} == {8, 16, 64}
    assert "PyTorch refuses batch=3, length=9" in answer.said("samples-reduced")


def test_a_change_in_one_recipe_does_not_cost_the_reading_of_the_others(project: Project) -> None:
    project.recipe("name: other", name="other.yaml")
    for _ in range(2):  # what was published just now is trusted after a look
        assert project.run("build", "net.yaml", "other.yaml").code == 0
        time.sleep(0.05)
    for part in ("ledger", "history", "objects"):  # where the slow path would look
        shutil.rmtree(project.folder / "cache" / part)
    project.recipe("name: other", "opset: 19", name="other.yaml")
    answer = project.run("build", "net.yaml", "other.yaml", "--format", "json")
    assert answer.statuses == {"net.fp32.onnx": "cached", "other.fp32.onnx": "built"}
    assert [r["recipe"] for r in answer.report["recipes"]] == ["net.yaml", "other.yaml"]
    clash = project.recipe("name: net", name="other.yaml")
    wrong = project.run("build", "net.yaml", str(clash))
    assert wrong.code == 2
    assert "both have the name `net`" in wrong.stderr
