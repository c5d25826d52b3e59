"""Files, folders and globs on the command line -> recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelbuild.errors import RecipeError
from modelbuild.recipe import find


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.yaml", "a.yml", "notes.txt", "inner/c.yaml", "odd[1].yaml"):
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "configs" / "folder.yaml").mkdir()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("args", "found"),
    [
        pytest.param(["configs"], ["configs/a.yml", "configs/b.yaml", "configs/odd[1].yaml"], id="folder"),
        pytest.param(["configs/"], ["configs/a.yml", "configs/b.yaml", "configs/odd[1].yaml"], id="slash"),
        pytest.param(["configs/b.yaml"], ["configs/b.yaml"], id="file"),
        pytest.param(["configs/notes.txt"], ["configs/notes.txt"], id="file-of-any-name"),
        pytest.param(["configs/[ab].y*ml"], ["configs/a.yml", "configs/b.yaml"], id="glob"),
        pytest.param(["configs/odd[1].yaml"], ["configs/odd[1].yaml"], id="file-that-looks-like-a-glob"),
        pytest.param(["configs/*"], ["configs/a.yml", "configs/b.yaml", "configs/odd[1].yaml"], id="star"),
        pytest.param(["**/c.yaml"], ["configs/inner/c.yaml"], id="recursive-glob"),
        pytest.param(["configs/b.yaml", "./configs/../configs/b.yaml", "configs/b*"], ["configs/b.yaml"], id="once"),
        pytest.param(["configs/b.yaml", "configs/a.yml"], ["configs/b.yaml", "configs/a.yml"], id="in-order"),
        pytest.param([], [], id="nothing"),
    ],
)  # fmt: skip
def test_arguments_name_recipes(args: list[str], found: list[str]) -> None:
    assert find(args) == [Path(path) for path in found]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arg", "message", "hint"),
    [
        pytest.param("configs/c.yaml", "no such recipe: `configs/c.yaml`", "did you mean `configs/b.yaml`?", id="near"),
        pytest.param("configs/resnet", "no such recipe: `configs/resnet`", "there are `a.yml`, `b.yaml`, `folder.yaml`, `odd[1].yaml`", id="far"),
        pytest.param("gone/a.yaml", "no such recipe: `gone/a.yaml`", "`modelbuild init IMPORT` writes a first recipe", id="no-folder"),
        pytest.param("empty", "no recipe in the folder `empty`", "a recipe's name ends in .yaml or .yml", id="empty-folder"),
        pytest.param("configs/z*", "no recipe matches `configs/z*`", "there are `a.yml`, `b.yaml`, `folder.yaml`, `odd[1].yaml`", id="glob"),
        pytest.param("*.txt", "no recipe matches `*.txt`", "`.` holds no recipe", id="glob-of-other-files"),
        pytest.param("n" * 5000, None, None, id="a-name-that-no-disk-takes"),
        pytest.param("a\0b", None, None, id="nul"),
    ],
)  # fmt: skip
def test_an_argument_that_names_nothing_is_told(
    arg: str, message: str | None, hint: str | None
) -> None:
    with pytest.raises(RecipeError) as caught:
        find(["configs", arg])
    (told,) = caught.value.diagnostics
    assert told.code == "recipe-invalid"
    assert told.hint
    if message:
        assert (told.message, told.hint) == (message, hint)


@pytest.mark.usefixtures("folder")
def test_all_that_name_nothing_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        find(["x", "configs", "y"])
    assert [d.message for d in caught.value.diagnostics] == [
        "no such recipe: `x`",
        "no such recipe: `y`",
    ]
