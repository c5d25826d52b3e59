"""The Python API says what the command line says, as typed values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import modelbuild

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.line(x))
"""

RECIPE = """\
name: tiny
model: {import: "tiny_net:Net"}
inputs: {x: {shape: [batch, 6]}}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 2, max: 4}}
static: [{batch: 1}]
verify: {samples: 2}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "tiny_net.py").write_text(NET)
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def built(project: Path) -> modelbuild.BuildResult:
    result: modelbuild.BuildResult = in_folder(
        project, modelbuild.build, "tiny.yaml", out="out", cache_dir="cache"
    )
    return result


def in_folder(folder: Path, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call with ``folder`` as the current one; a fixture of the whole module cannot be monkeypatched."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return function(*args, **kwargs)
    finally:
        os.chdir(before)


def told(folder: Path, *args: str) -> Any:
    """What the command line prints as JSON."""
    argv = [sys.executable, "-m", "modelbuild", *args, "--format", "json"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)


def test_a_build_gives_typed_results(built: modelbuild.BuildResult, project: Path) -> None:
    assert built.ok, [d.render() for r in built.recipes for d in r.diagnostics]
    assert isinstance(built, modelbuild.BuildResult)
    (recipe,) = built.recipes
    assert isinstance(recipe, modelbuild.RecipeResult)
    assert (recipe.recipe, recipe.name, recipe.status) == ("tiny.yaml", "tiny", "ok")
    assert [a.name for a in recipe.artifacts] == ["tiny.fp32.onnx", "tiny.fp32.batch1.onnx"]
    for artifact in recipe.artifacts:
        assert isinstance(artifact, modelbuild.ArtifactResult)
        assert artifact.status == "built"
        assert artifact.parity is not None
        assert artifact.parity["passed"] is True
        assert artifact.path is not None
        assert (project / artifact.path).stat().st_size == artifact.bytes


@pytest.mark.usefixtures("built")
def test_the_result_holds_what_the_command_line_prints(project: Path) -> None:
    again = in_folder(project, modelbuild.build, ["tiny.yaml"], out=Path("out"), cache_dir=Path("cache"))
    assert [a.status for a in again.recipes[0].artifacts] == ["cached", "cached"]
    printed = told(project, "build", "tiny.yaml", "--out", "out", "--cache-dir", "cache")
    assert json.loads(json.dumps(again.as_json())) == printed


@pytest.mark.usefixtures("built")
def test_published_files_can_be_measured_again(project: Path) -> None:
    found = in_folder(
        project, modelbuild.verify, "tiny.yaml", out="out", cache_dir="cache", only="tiny.fp32.onnx"
    )
    assert found.ok
    assert [a.name for a in found.recipes[0].artifacts] == ["tiny.fp32.onnx"]


@pytest.mark.usefixtures("built")
def test_what_is_fresh_and_why_is_told_as_the_command_line_tells_it(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    places = {"out": "out", "cache_dir": "cache"}
    shell = ["tiny.yaml", "--out", "out", "--cache-dir", "cache"]
    found = in_folder(project, modelbuild.status, "tiny.yaml", **places)
    assert isinstance(found, modelbuild.BuildResult)
    assert [a.status for a in found.recipes[0].artifacts] == ["fresh", "fresh"]
    assert json.loads(json.dumps(found.as_json())) == told(project, "status", *shell)
    part = in_folder(project, modelbuild.status, "tiny.yaml", only="*batch1*", **places)
    assert [a.name for a in part.recipes[0].artifacts] == ["tiny.fp32.batch1.onnx"]
    why = in_folder(project, modelbuild.why, "tiny.fp32.onnx", ["tiny.yaml"], **places)
    assert isinstance(why, modelbuild.Why)
    assert (why.status, why.reason) == ("fresh", None)
    assert all(isinstance(a, modelbuild.Because) for a in why.actions)
    assert json.loads(json.dumps(why.as_json())) == told(project, "why", "tiny.fp32.onnx", *shell)
    with pytest.raises(modelbuild.RecipeError, match=r"no recipe here makes `tiny\.fp16\.onnx`"):
        in_folder(project, modelbuild.why, "tiny.fp16.onnx", "tiny.yaml", **places)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("built")
def test_lock_files_are_written_and_held_to(project: Path) -> None:
    def build(**more: Any) -> modelbuild.BuildResult:
        answer = in_folder(project, modelbuild.build, "tiny.yaml", out="out", cache_dir="cache", **more)
        assert isinstance(answer, modelbuild.BuildResult)
        return answer

    without = build(locked=True)
    assert (without.ok, without.exit_code) == (False, 2)
    assert [d.code for d in without.recipes[0].diagnostics] == ["lock-missing"]
    assert [d.code for d in build(lock=True).recipes[0].diagnostics] == ["lock-written"]
    place = project / "tiny.lock.yaml"
    assert build(locked=True).ok
    place.write_text(place.read_text().replace("opset: 18", "opset: 17"))
    refused = build(locked=True)
    assert (refused.ok, refused.exit_code) == (False, 1)
    assert [d.code for d in refused.recipes[0].diagnostics] == ["lock-mismatch"]
    with pytest.raises(modelbuild.RecipeError, match="--lock goes with neither --only nor --dry-run"):
        build(lock=True, only="*batch1*")


@pytest.mark.usefixtures("built")
def test_a_file_can_be_inspected(project: Path) -> None:
    file = "out/tiny/tiny.fp32.batch1.onnx"
    assert in_folder(project, modelbuild.inspect, file) == told(project, "inspect", file)


@pytest.mark.slow
def test_an_audit_finds_no_undeclared_read_in_a_model_that_has_none(project: Path) -> None:
    try:
        found = in_folder(project, modelbuild.audit, "tiny.yaml")
    except modelbuild.ToolchainError as error:
        pytest.skip(error.diagnostics[0].message)
    assert isinstance(found, modelbuild.BuildResult)
    assert (found.ok, found.recipes[0].diagnostics) == (True, ())
    assert modelbuild.audit.__name__ == "audit"  # no module of that name has taken its place


def test_checking_finds_what_is_wrong_without_raising(tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text(RECIPE.replace("outputs", "ouputs"))
    result = modelbuild.check(recipe)
    assert (result.ok, result.exit_code) == (False, 2)
    (found,) = result.recipes[0].diagnostics
    assert isinstance(found, modelbuild.Diagnostic)
    assert found.code == "recipe-invalid"
    assert found.hint == "did you mean `outputs`?"


def test_a_wrong_recipe_is_in_the_result_and_a_wrong_path_raises(tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text("name: wrong\n")
    places: Any = {"out": tmp_path / "out", "cache_dir": tmp_path / "cache"}
    result = modelbuild.build(recipe, **places)
    assert (result.ok, result.exit_code) == (False, 2)
    assert {d.code for d in result.recipes[0].diagnostics} == {"recipe-invalid"}
    with pytest.raises(modelbuild.RecipeError) as caught:
        modelbuild.build(tmp_path / "nowhere.yaml", **places)
    assert isinstance(caught.value, modelbuild.ModelbuildError)


def test_the_package_knows_its_version_and_its_names() -> None:
    from importlib.metadata import version

    assert modelbuild.__version__ == version("modelbuild")
    for name in modelbuild.__all__:
        assert getattr(modelbuild, name) is not None
    assert set(modelbuild.__all__) <= set(dir(modelbuild))
    with pytest.raises(AttributeError, match="module 'modelbuild' has no attribute 'biuld'"):
        modelbuild.biuld  # noqa: B018 - the attribute is the test
