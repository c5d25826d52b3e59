"""What an output folder of earlier builds goes on offering, and what is taken out of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelbuild.building.leftovers import cleared
from modelbuild.store import hash_file
from tests.conftest import TINY, VARIANTS, Project

WHY = "the recipe does not ask for it any more"


def _row(path: Path, data: bytes = b"") -> dict[str, Any]:
    path.write_bytes(b"graph")
    if data:
        path.with_name(path.name + ".data").write_bytes(data)
    file = hash_file(path)
    return {"sha256": file.sha256, "bytes": file.bytes + len(data)}


def _others(row: dict[str, Any], folder: Path) -> None:
    (folder / "net.onnx").write_bytes(b"GRAPH")


def _linked(row: dict[str, Any], folder: Path) -> None:
    (folder / "net.onnx").rename(folder / "real")
    (folder / "net.onnx").symlink_to("real")


@pytest.mark.parametrize(
    ("change", "left", "said"),
    [
        pytest.param(lambda row, folder: None, [], [f"net.onnx in {{}}: {WHY}; is removed"], id="ours"),
        pytest.param(lambda row, folder: row.update(published=dict(row), sha256=None), [],
                     [f"net.onnx in {{}}: {WHY}; is removed"], id="ours, beside a failed one"),
        pytest.param(_others, ["net.onnx", "net.onnx.data"],
                     [f"net.onnx in {{}}: {WHY}; stays: it is not what was built, and the manifest does not "
                      "name it any more"], id="somebody else's"),
        pytest.param(_linked, ["net.onnx", "net.onnx.data", "real"], [], id="a link"),
        pytest.param(lambda row, folder: (folder / "net.onnx").unlink(), ["net.onnx.data"], [], id="gone"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_asked_for_is_removed_if_it_is_what_was_built(
    tmp_path: Path, change: Callable[[dict[str, Any], Path], object], left: list[str], said: list[str]
) -> None:
    row = _row(tmp_path / "net.onnx", b"weights")
    change(row, tmp_path)
    told = cleared(tmp_path, {"net.onnx": row}, {"net.onnx": WHY})
    assert [d.message for d in told] == [line.format(tmp_path) for line in said]
    assert {d.level for d in told} <= {"info"}
    assert sorted(p.name for p in tmp_path.iterdir()) == left


def test_data_that_is_not_the_files_own_stays(tmp_path: Path) -> None:
    row = _row(tmp_path / "net.onnx", b"weights")
    (tmp_path / "net.onnx.data").write_bytes(b"something else")
    cleared(tmp_path, {"net.onnx": row}, {"net.onnx": WHY})
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx.data"]


@pytest.mark.parametrize("name", ["../net.onnx", "/net.onnx", "sub/net.onnx", "..", "."])
def test_a_name_that_leads_elsewhere_removes_nothing(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "build/net"
    (folder / "sub").mkdir(parents=True)
    row = _row(tmp_path / "build/net.onnx")
    _row(folder / "sub/net.onnx")
    assert cleared(folder, {name: row}, {name: WHY}) == []
    assert (tmp_path / "build/net.onnx").exists()
    assert (folder / "sub/net.onnx").exists()


# ---- builds ------------------------------------------------------------------------------------

ENGINE = "engines: [{precision: fp32, backend: tensorrt}]"


@pytest.fixture
def project(warm: Project) -> Project:
    warm.recipe(VARIANTS[0])
    assert warm.build().code == 0
    return warm


def _manifest(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project.folder / "build/net/manifest.json").read_text())
    return found


def test_a_precision_that_leaves_the_recipe_leaves_the_output_folder_and_comes_back(project: Project) -> None:
    project.recipe()
    assert project.build("--only", "*.fp32.onnx").code == 0
    assert project.output("net.fp16.onnx").exists() is False
    project.recipe(VARIANTS[0])
    assert project.build().statuses == {"net.fp32.onnx": "cached", "net.fp16.onnx": "cached"}
    assert project.build("--only", "*.fp32.onnx").code == 0
    assert project.output("net.fp16.onnx").exists(), "--only leaves alone what is asked for"
    project.recipe()
    answer = project.build()
    assert answer.said("artifact-removed") == (
        "net.fp16.onnx in build/net: the recipe does not ask for it any more; is removed"
    )
    assert [a["name"] for a in _manifest(project)["artifacts"]] == ["net.fp32.onnx"]
    assert "artifact-removed" not in str(project.build().report), "it is said once"


def test_an_engine_of_an_older_model_goes_where_a_new_one_cannot_be_built(project: Project) -> None:
    """As a machine that has the backend left it."""
    project.recipe(ENGINE)
    assert project.build().statuses["net.fp32.tensorrt.engine"] == "skipped"
    engine = project.output("net.fp32.tensorrt.engine")
    manifest = _manifest(project)
    row = next(a for a in manifest["artifacts"] if a["kind"] == "engine")
    row |= {**_row(engine), "status": "built"}
    assert row["from"].startswith("sha256:")
    (engine.parent / "manifest.json").write_text(json.dumps(manifest))
    assert project.build().code == 0
    assert engine.exists(), "it is of this model"
    project.write("net.py", TINY.replace("torch.relu", "torch.tanh"))
    answer = project.build()
    assert answer.code == 0
    assert not engine.exists()
    assert "it is of an older model, and cannot be built here; is removed" in answer.said("artifact-removed")
    assert all("published" not in a for a in _manifest(project)["artifacts"])
