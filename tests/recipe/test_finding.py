"""Files, folders and globs on the command line -> recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.recipe.finding import find


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    locks = ("a.lock.yml", "b.lock.yaml", "gone.lock.yaml")
    for name in ("b.yaml", "a.yml", "notes.txt", "inner/c.yaml", "odd[1].yaml", ".hidden.yaml", *locks):
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "configs" / "folder.yaml").mkdir()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


RECIPES = ["configs/a.yml", "configs/b.yaml", "configs/odd[1].yaml"]
NAMES = "there are `a.yml`, `b.yaml`, `folder.yaml`, `odd[1].yaml`"
B = "configs/b.yaml"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("args", "found"),
    [
        pytest.param(["configs"], RECIPES, id="folder"),
        pytest.param(["configs/"], RECIPES, id="folder-with-a-slash"),
        pytest.param([B], [B], id="file"),
        pytest.param(["configs/.hidden.yaml"], ["configs/.hidden.yaml"], id="hidden-file"),
        pytest.param(["configs/notes.txt"], ["configs/notes.txt"], id="file-of-any-name"),
        pytest.param(["configs/[ab].y*ml"], RECIPES[:2], id="glob"),
        pytest.param(["configs/odd[1].yaml"], RECIPES[2:], id="file-that-looks-like-a-glob"),
        pytest.param(["configs/*"], RECIPES, id="glob-that-also-matches-other-files"),
        pytest.param(["**/c.yaml"], ["configs/inner/c.yaml"], id="recursive-glob"),
        pytest.param([B, "./configs/../configs/b.yaml", "configs/b*"], [B], id="each-once"),
        pytest.param([B, "configs/a.yml"], [B, "configs/a.yml"], id="in-the-order-given"),
        pytest.param(["configs/*.yaml"], RECIPES[1:], id="glob-that-also-matches-lock-files"),
        pytest.param(
            ["configs/b.lock.yaml", B, "configs/a.lock.yml", "configs"],
            [B, RECIPES[0], RECIPES[2]],
            id="lock-files-that-a-shell-has-spelled-out",
        ),
        pytest.param([], [], id="nothing"),
    ],
)
def test_arguments_name_recipes(args: list[str], found: list[str]) -> None:
    assert find(args) == [Path(path) for path in found]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arg", "message", "hint"),
    [
        pytest.param("configs/c.yaml", "no such recipe: `configs/c.yaml`", f"did you mean `{B}`?", id="near"),
        pytest.param("configs/b", "no such recipe: `configs/b`", f"did you mean `{B}`?", id="no-suffix"),
        pytest.param("configs/net", "no such recipe: `configs/net`", NAMES, id="far"),
        pytest.param(
            "configs/inner/net", "no such recipe: `configs/inner/net`", "there is `c.yaml`", id="far-from-one"
        ),
        pytest.param(
            "gone/a.yaml",
            "no such recipe: `gone/a.yaml`",
            "`modelbuild init IMPORT` writes a first recipe",
            id="no-folder",
        ),
        pytest.param(
            "empty",
            "no recipe in the folder `empty`",
            "a recipe's name ends in .yaml or .yml",
            id="empty-folder",
        ),
        pytest.param("configs/z*", "no recipe matches `configs/z*`", NAMES, id="glob"),
        pytest.param("*.txt", "no recipe matches `*.txt`", "`.` holds no recipe", id="glob-of-other-files"),
    ],
)
def test_an_argument_that_names_nothing_is_told(arg: str, message: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        find(["configs", arg])
    (told,) = caught.value.diagnostics
    assert (told.code, told.message, told.hint) == ("recipe-invalid", message, hint)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("arg", ["n" * 5000, "a\0b", "n" * 5000 + "*"], ids=["long", "nul", "long-glob"])
def test_an_argument_that_no_disk_takes_is_told(arg: str) -> None:
    with pytest.raises(RecipeError) as caught:
        find([arg])
    assert caught.value.diagnostics[0].hint


@pytest.mark.usefixtures("folder")
def test_all_that_name_nothing_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        find(["x", "configs", "y"])
    told = [found.message for found in caught.value.diagnostics]
    assert told == ["no such recipe: `x`", "no such recipe: `y`"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("lock", "recipe"),
    [
        pytest.param("configs/b.lock.yaml", B, id="yaml"),
        pytest.param("configs/a.lock.yml", "configs/a.yml", id="yml"),
        pytest.param("configs/gone.lock.yaml", "configs/gone.yaml", id="its-recipe-is-gone"),
    ],
)
def test_a_lock_file_is_no_recipe_and_its_recipe_is_named(lock: str, recipe: str) -> None:
    with pytest.raises(RecipeError) as caught:
        find(["configs/odd[1].yaml", lock])
    (told,) = caught.value.diagnostics
    assert told.message == f"`{lock}` is a lock file, not a recipe"
    assert told.hint == f"name `{recipe}`"


def test_a_folder_of_lock_files_holds_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "net.lock.yaml").touch()
    with pytest.raises(RecipeError) as caught:
        find([str(tmp_path)])
    assert "no recipe in the folder" in caught.value.diagnostics[0].message
