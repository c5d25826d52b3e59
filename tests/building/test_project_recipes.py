"""What a command means that names no recipe: those of the project file, on the fast path, too."""

from __future__ import annotations

import pytest

from modelbuild import quick
from tests.conftest import Project

SAYS = '[tool.modelbuild]\nrecipes = ["configs"]\n'


@pytest.fixture
def tiny(project: Project) -> Project:
    """Two recipes, one of them in the folder that the project file names."""
    project.recipe(name="configs/net.yaml")
    project.write("configs/net.py", (project.folder / "net.py").read_text())
    project.write("pyproject.toml", SAYS)
    return project


@pytest.mark.parametrize("command", ["status", "check", "graph"])
def test_a_command_without_recipes_is_about_those_of_the_project(tiny: Project, command: str) -> None:
    answer = tiny.run(command)
    assert "configs/net.yaml" in answer.stdout
    assert answer.stdout == tiny.run(command, "configs").stdout


def test_it_is_the_same_from_a_folder_below(tiny: Project) -> None:
    found = tiny.run("check", "--format", "json", cwd=tiny.folder / "configs").report["recipes"]
    assert [r["recipe"] for r in found] == ["../configs/net.yaml"]


def test_a_recipe_that_is_named_counts_alone(tiny: Project) -> None:
    assert tiny.run("check", "net.yaml").stdout == "net.yaml: ok\n"


def test_a_bare_build_is_fast_when_there_is_nothing_to_do_and_so_is_why(
    tiny: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny.run("build").code == 0
    monkeypatch.chdir(tiny.folder)
    monkeypatch.setenv("MODELBUILD_CACHE_DIR", str(tiny.folder / "cache"))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert quick.answer(["build"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert "net.fp32.onnx is fresh" in tiny.run("why", "net.fp32.onnx").stdout


@pytest.mark.parametrize(
    ("table", "message", "hint"),
    [
        pytest.param(
            'recipes = ["nowhere"]', "no such recipe: `nowhere` (`recipes` of the project file)", "",
            id="names-nothing",
        ),
        pytest.param("recipes = []", "[tool.modelbuild]: `recipes` is empty", "", id="empty"),
        pytest.param('recipes = "configs"', "`recipes` must be a list", "", id="no-list"),
        pytest.param(
            "jobs = 2", "no recipe is named, and no project file says which are meant",
            'name a recipe, a folder or a glob, or put `recipes = ["configs"]` into [tool.modelbuild]',
            id="says-nothing",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_both_ways_out(tiny: Project, table: str, message: str, hint: str) -> None:
    tiny.write("pyproject.toml", f"[tool.modelbuild]\n{table}\n")
    answer = tiny.run("check")
    assert answer.code == 2
    assert message in answer.stderr
    assert hint in answer.stderr


def test_a_recipe_in_the_place_of_a_command_is_told_the_command(tiny: Project) -> None:
    answer = tiny.run("net.yaml")
    assert answer.code == 2
    assert "hint: did you mean `modelbuild build net.yaml`?" in answer.stderr
