"""What a report knows: of real builds, of recipes that changed since, and of manifests alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import modelbuild
from modelbuild.base.errors import RecipeError
from modelbuild.building import request as requests
from modelbuild.building.request import Request
from modelbuild.cli import main as cli
from modelbuild.views.reporting.gathering import gather
from modelbuild.views.reporting.page import render
from tests.conftest import RECIPE
from tests.views.reporting.places import MORE, ROWS, Heard, Place


def test_ranges_are_measured_once_and_by_no_build(built: Place) -> None:
    assert "ranges" not in built.manifest.read_text().replace('"ranges": null', "")
    (first,), ran = built.models()
    assert ran == ["ranges fp16"]
    (again,), ran = built.models()
    assert ran == []
    assert first.ranges == again.ranges
    rows = first.ranges["fp16"].rows
    assert {r.op_type for r in rows} == {"Cast", "Gemm"}  # Relu makes no value that was not there
    assert {r.source for r in rows if r.op_type == "Gemm"} == {"net.py:12 in forward"}
    assert all(0 < r.mean <= r.largest < 65504 and not r.kept for r in rows)


def test_a_report_leaves_a_build_with_nothing_to_do(built: Place) -> None:
    before = built.manifest.read_bytes()
    built.models()
    idle = requests.loaded(built.request(built.recipe)).idle
    assert [r.name for r in idle] == ["net"]
    assert built.manifest.read_bytes() == before


def test_a_built_model_is_told_with_all_that_was_measured(built: Place) -> None:
    model = built.model()
    assert (model.name, model.status, model.notes) == ("net", "ok", [])
    assert {a.status for a in (*model.artifacts, *model.actions)} == {"built"}
    assert [a.id for a in model.actions][:3] == ["reference", "export", "fp32"]
    costs = {a.id: (a.seconds, a.peak or 0) for a in model.actions}
    assert costs.pop("verify fp16") == (0, 0)  # the conversion had to prove what it made
    assert all(seconds > 0 and peak > 10_000_000 for seconds, peak in costs.values())
    assert {"modelbuild", "torch", "onnx", "onnxruntime", "python"} <= set(model.toolchain)
    assert model.facts["export"]["opset"] == 18
    assert str(model.facts["export"]["file net.py"]).startswith("sha256:")
    assert model.built == built.manifest.stat().st_mtime


def test_errors_are_recorded_per_output_and_shape_and_as_a_histogram(built: Place) -> None:
    model = built.model()
    for artifact in model.artifacts:
        parity = artifact.parity
        assert parity is not None
        shapes = [{"batch": 1}] if artifact.axes else [{"batch": n} for n in ROWS]
        assert [(e.output, e.shape) for e in parity.errors] == [("y", s) for s in shapes]
        assert min(e.headroom for e in parity.errors) == parity.outputs["y"].headroom
        assert max(e.max_abs for e in parity.errors) == parity.outputs["y"].max_abs
        spread = parity.spread["y"]
        elements = sum(3 * s["batch"] * ROWS[s["batch"]] for s in shapes)
        assert sum(spread.counts) + spread.equal == elements
        top = spread.smallest * 2.0 ** len(spread.counts)
        assert top / 2 <= parity.outputs["y"].max_abs < top


def test_a_change_makes_stale_what_it_touches_and_keeps_the_old_numbers(place: Place) -> None:
    place.model(place.recipe)
    place.recipe.write_text(RECIPE + MORE.replace("fp16: ", "fp16: {tolerance: {relative_l2: 0.5}}"))
    model = place.model(place.recipe)
    assert model.status == "stale"
    assert model.notes == [
        "What is marked stale is of the last build: it has changed since, or is not there any more."
    ]
    states = {a.id: a.status for a in model.actions}
    assert states["verify fp16"] == "stale"
    assert states["export"] != "stale"
    of = {a.name: a for a in model.artifacts}
    assert of["net.fp16.onnx"].status == "stale"
    assert of["net.fp16.onnx"].parity is not None
    assert of["net.fp32.onnx"].status in ("built", "cached")


def test_without_a_cache_nothing_is_made_for_a_report(place: Place) -> None:
    models, ran = place.models(place.recipe, cache="empty")
    assert ran == []
    assert models[0].ranges["fp16"].rows == ()
    note = "Not measured: what it takes was not built, or is not in the cache any more."
    assert models[0].ranges["fp16"].note == note
    assert models[0].artifacts[0].parity is not None
    assert note in render(models)
    assert not (place.folder / "empty/objects").exists()


def test_a_damaged_object_is_not_made_again_for_a_report(built: Place, tmp_path: Path) -> None:
    """To repair it would be to run the model."""
    shutil.copytree(built.folder, tmp_path, dirs_exist_ok=True)
    place = Place(tmp_path)
    shutil.rmtree(tmp_path / "cache/ledger")
    shutil.copytree(built.folder / "cache/ledger", tmp_path / "cache/ledger")
    for entry in (tmp_path / "cache/ledger").rglob("*.json"):
        if '"step":"ranges"' in entry.read_text().replace(" ", ""):
            entry.unlink()
    for file in (tmp_path / "cache/objects").rglob("*.npz"):
        file.chmod(0o644)
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    place.recipe.touch()
    models, ran = place.models(place.recipe)
    assert ran == []
    assert models[0].ranges["fp16"].rows == ()


def test_a_recipe_that_is_gone_leaves_what_its_manifest_says(place: Place) -> None:
    place.recipe.unlink()
    data = json.loads(place.manifest.read_text())
    model = place.model()
    assert model.status == "ok"
    assert model.notes == [
        f"Its recipe, {data['recipe']}, is not here: this is what the manifest of its last build says."
    ]
    assert [a.id for a in model.actions] == [a["id"] for a in data["actions"]]
    assert model.actions[2].needs == {"model": "export"}
    assert model.ranges["fp16"].note == "Not measured: the recipe is not here."


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("{", "Invalid JSON", id="no-json"),
        pytest.param("[]", "Input should be an object", id="another-type"),
        pytest.param('{"recipe": "a", "name": "b", "status": "ok"}', "artifacts: Field required", id="less"),
        pytest.param(
            '{"recipe": "a", "name": "b", "status": "ok", "artifacts": [{"name": 5}]}', "artifacts.0.name",
            id="a-number-for-a-name",
        ),
        pytest.param(
            '{"recipe": "a", "name": "b", "status": "ok", "artifacts": [{"name": "a", "kind": "onnx", '
            '"precision": "fp16", "status": "<b>", "axes": {}}]}', "artifacts.0.status",
            id="a-made-up-status",
        ),
        pytest.param("\xff", "JSON", id="no-text"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_read_is_a_failure_that_says_so(place: Place, text: str, why: str) -> None:
    place.recipe.unlink()
    place.manifest.write_bytes(text.encode("latin-1"))
    model = place.model()
    assert (model.name, model.status) == ("net", "failed")
    (note,) = model.notes
    assert note.startswith(f"{place.manifest} is not a manifest that can be read (")
    assert why in note
    assert note.endswith("): build again.")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["a-folder", "a-pipe"])
def test_a_manifest_that_is_no_file_is_not_waited_for(place: Place, make: Callable[[Path], None]) -> None:
    place.recipe.unlink()
    place.manifest.unlink()
    make(place.manifest)
    assert place.model().notes == [
        f"{place.manifest} is not a manifest that can be read (it is no regular file): build again."
    ]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("bytes", 10**300), ("bytes", -1), ("seconds", 1e308), ("seconds", "5 s"),
        ("axes", {"batch": 10**40}), ("ranges", [{"largest": 1}]), ("parity", {"passed": True}),
    ],
)  # fmt: skip
def test_numbers_that_no_build_writes_are_refused(place: Place, part: str, value: object) -> None:
    place.recipe.unlink()
    data = json.loads(place.manifest.read_text())
    data["artifacts"][0][part] = value
    place.manifest.write_text(json.dumps(data))
    model = place.model()
    assert model.status == "failed"
    assert f"(artifacts.0.{part}" in model.notes[0]


def test_the_largest_and_smallest_numbers_are_drawn(place: Place) -> None:
    place.recipe.unlink()
    data = json.loads(place.manifest.read_text())
    for artifact in data["artifacts"]:
        artifact["bytes"] = 2**63 - 1
        errors = {"headroom": 1e-320, "max_abs": -1e308, "relative_l2": 1e308, "shape": {"b": 2**62}}
        artifact["parity"]["errors"][0] |= errors
        artifact["parity"]["spread"]["y"] = {"smallest": 9e38, "counts": [0, 0, 1] * 100, "equal": 0}
    for action in data["actions"]:
        action |= {"seconds": 1e9, "peak": 2**63 - 1}
    place.manifest.write_text(json.dumps(data))
    assert place.model().status == "ok"


def test_a_manifest_without_what_newer_builds_record_says_what_to_do(place: Place) -> None:
    place.recipe.unlink()
    data = json.loads(place.manifest.read_text())
    del data["actions"]
    for artifact in data["artifacts"]:
        del artifact["parity"]["errors"], artifact["parity"]["spread"]
    place.manifest.write_text(json.dumps(data))
    text = render([place.model()])
    assert "The manifest does not say which actions there were: build again." in text
    assert "before errors were recorded per shape: build again." in text


def test_a_recipe_that_was_never_built_shows_its_plan(place: Place) -> None:
    other = place.folder / "other.yaml"
    other.write_text(RECIPE + "opset: 17\n")
    model = place.model(other)
    assert model.notes == ["This recipe was not built yet: what follows is its plan."]
    assert model.status == "stale"
    assert {a.status for a in model.actions} <= {"stale", "cached"}
    assert "verify fp32" in {a.id for a in model.actions}


def test_a_recipe_that_is_wrong_stands_first_with_its_mistake(place: Place) -> None:
    wrong = place.folder / "wrong.yaml"
    wrong.write_text("model: {import: 'net:Net'}\ninputs: {x: {shape: [6]}}\noppset: 17\n")
    models, _ = place.models(place.recipe, wrong)
    assert [(m.name, m.status) for m in models] == [("wrong", "failed"), ("net", "ok")]
    assert models[0].diagnostics[0].code == "recipe-invalid"
    assert "oppset" in models[0].diagnostics[0].message


def test_a_failed_build_is_told_with_what_it_measured(place: Place) -> None:
    (place.folder / "cache").unlink()
    place.recipe.write_text(
        RECIPE + "precision: {fp32: {tolerance: {rtol: 1.0e-12}}}\nstatic: [{batch: 1}]\n"
    )
    assert not place.build(only="*.fp32.onnx").ok
    model = place.model(place.recipe)
    states = {a.name: a.status for a in model.artifacts}
    assert model.status == "failed"
    assert states["net.fp32.onnx"] == "failed"
    of = {a.id: a.status for a in model.actions}
    assert (of["fp32"], of["verify fp32"]) == ("built", "failed")
    assert "fp32.batch1" in of  # behind an artifact that this build was not about
    (failed,) = (a for a in model.artifacts if a.name == "net.fp32.onnx")
    assert failed.parity is not None
    assert min(e.headroom for e in failed.parity.errors) < 1


def test_a_recipe_that_never_came_to_a_good_file_is_told_as_failed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "net.py").write_text("1 / 0\n")
    place.recipe.write_text(RECIPE + MORE)
    assert not place.build().ok
    model = place.model()
    assert (model.status, model.notes) == ("failed", [])
    assert [a.status for a in model.artifacts] == ["blocked"] * 4
    assert '0 of 4 proven</strong> <span class="muted">4 blocked</span>' in render([model])
    said = [d.message for a in model.artifacts for d in a.diagnostics] + [
        d.message for d in model.diagnostics
    ]
    assert any("ZeroDivisionError" in words for words in said)


def test_a_recipe_that_took_the_name_of_another_one_is_told_once(place: Place) -> None:
    """Its old folder is still there: that is told from its manifest."""
    place.model()
    shutil.copytree(place.out / "net", place.out / "old")
    other = place.folder / "other.yaml"
    other.write_text(RECIPE + "name: net\n")
    manifest = place.out / "old/manifest.json"
    manifest.write_text(manifest.read_text().replace(str(place.recipe), str(other)))
    models, _ = place.models()
    assert [(m.name, m.recipe) for m in models] == [("net", str(place.recipe)), ("old", str(other))]
    assert models[1].notes == [
        f"Its recipe, {other}, has another name now: this is what the manifest of its last build says."
    ]


def test_where_nothing_was_built_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        gather(Request([], tmp_path / "build", tmp_path / "cache"), Heard())
    (said,) = raised.value.diagnostics
    assert said.message == f"nothing to report: {tmp_path}/build has no manifest.json in a folder of it"
    assert said.hint == "`modelbuild build` puts one there; `--out` names another folder, or name recipes"


def test_the_command_writes_one_file_and_says_which(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    assert cli.main(["report", "--cache-dir", "cache", "-o", "made/net.html"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("made/net.html: 1 model, ")
    assert (place.folder / "made/net.html").read_text().startswith("<!DOCTYPE html>")
    (place.folder / "file").write_text("")
    assert cli.main(["report", "--cache-dir", "cache", "-o", "file/net.html"]) == 1
    assert "file/net.html cannot be written" in capsys.readouterr().err
    assert cli.main(["report", "--cache-dir", "cache", "-o", ""]) == 1
    assert "error[report-unwritable]: . cannot be written: Is a directory" in capsys.readouterr().err
    assert cli.main(["report", "nothing.yaml"]) == 2
    assert "nothing.yaml" in capsys.readouterr().err


def test_the_function_writes_what_the_command_does(place: Place) -> None:
    path = place.folder / "again.html"
    told = modelbuild.report(path, place.recipe, place.out, place.folder / "cache")
    assert (told.path, told.models, told.failed) == (path, 1, 0)
    assert told.bytes == path.stat().st_size


def test_a_report_imports_no_heavy_library() -> None:
    code = (
        "import sys; import modelbuild.views.reporting.gathering, modelbuild.views.reporting.page; "
        "print({'torch', 'onnx', 'numpy', 'vl_convert', 'playwright'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
