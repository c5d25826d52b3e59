"""A recipe on the disk gets the list whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.recipe.writing import write_back

# ---- files -----------------------------------------------------------------------------------

TEXT = b"\xef\xbb\xbfprecision:\r\n  fp16: {method: auto}  # gr\xc3\xb6\xc3\x9fe\r\n"
EDITED = TEXT.replace(b"auto", b"auto, node_block_list: [b]")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "m.yaml"
    path.write_bytes(TEXT)
    return path


def test_the_file_gets_the_list_once(recipe: Path) -> None:
    assert write_back(recipe, "fp16", ["b"], TEXT) is True
    assert recipe.read_bytes() == EDITED
    assert write_back(recipe, "fp16", ["b"], EDITED) is False
    assert [p.name for p in recipe.parent.iterdir()] == ["m.yaml"]


def test_the_file_keeps_its_mode(recipe: Path) -> None:
    recipe.chmod(0o640)
    write_back(recipe, "fp16", ["b"], TEXT)
    assert stat.S_IMODE(recipe.stat().st_mode) == 0o640


def test_a_link_to_the_file_stays_a_link(recipe: Path) -> None:
    (recipe.parent / "links").mkdir()
    link = recipe.parent / "links" / "other.yaml"
    link.symlink_to(Path("..") / "m.yaml")

    assert write_back(link, "fp16", ["b"], TEXT)

    assert link.is_symlink()
    assert recipe.read_bytes() == EDITED


def test_what_somebody_wrote_during_the_build_is_left_alone(recipe: Path) -> None:
    mine = TEXT + b"opset: 20\r\n"
    recipe.write_bytes(mine)

    with pytest.raises(RecipeError) as stopped:
        write_back(recipe, "fp16", ["b"], TEXT)

    (told,) = stopped.value.diagnostics
    message = "the recipe cannot be edited by itself: it was changed during the build"
    assert (told.where, told.message) == (str(recipe), message)
    assert told.hint == "put this into it:\nprecision:\n  fp16:\n    node_block_list:\n      - b"
    assert recipe.read_bytes() == mine


def test_a_recipe_that_cannot_be_edited_is_named(recipe: Path) -> None:
    with pytest.raises(RecipeError) as stopped:
        write_back(recipe, "bf16", ["b"], TEXT)

    assert stopped.value.diagnostics[0].where == str(recipe)
    assert recipe.read_bytes() == TEXT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_stays(recipe: Path) -> None:
    recipe.chmod(0o444)

    with pytest.raises(RecipeError, match="it cannot be written: Permission denied"):
        write_back(recipe, "fp16", ["b"], TEXT)

    assert recipe.read_bytes() == TEXT


def test_a_recipe_that_is_gone_stays_gone(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="it cannot be written: No such file"):
        write_back(tmp_path / "m.yaml", "fp16", ["b"], TEXT)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_file_whole(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(RecipeError, match="it cannot be written: No space left on device"):
        write_back(recipe, "fp16", ["b"], TEXT)

    assert recipe.read_bytes() == TEXT
    assert [p.name for p in recipe.parent.iterdir()] == ["m.yaml"]
