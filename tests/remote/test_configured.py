"""``[tool.modelbuild.remote]``: what it says, and what is wrong with it in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelbuild import settings
from modelbuild.base.errors import RecipeError
from modelbuild.recipe import defaults
from modelbuild.remote.configured import Remote, Trusted, configured
from modelbuild.remote.signing import generate, public_key

KEY, OTHER = (generate()[0] for _ in range(2))


def project(folder: Path, *lines: str) -> Path:
    text = "\n".join(("[tool.modelbuild.remote]", *lines, ""))
    (folder / "pyproject.toml").write_text(text)
    return folder


def test_a_remote_with_its_keys_and_salt(tmp_path: Path) -> None:
    steps = f'{{key = "{OTHER}", steps = ["engine", "verify"]}}'
    project(tmp_path, 'url = "s3://models/cache/"', f'trust = ["{KEY}", {steps}]', 'salt = "words"')
    found = configured(tmp_path)
    trust = (Trusted(public_key(KEY)), Trusted(public_key(OTHER), frozenset({"engine", "verify"})))
    assert found == Remote("s3://models/cache", trust, "words")


def test_it_is_found_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    project(tmp_path, 'url = "file:///team"')
    assert configured(tmp_path / "a" / "b") == Remote("file:///team")


def test_without_the_table_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.modelbuild]\nout = "dist"\n')
    assert configured(tmp_path) is None


def test_other_options_are_read_beside_it(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.modelbuild]\nout = "dist"\n\n[tool.modelbuild.remote]\nurl = "s3://a/b"\ntrust = ["{KEY}"]\n'
    )
    assert settings.project(str(tmp_path))["out"] == "dist"
    assert defaults.above(tmp_path).where


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['url = "ftp://models"', f'trust = ["{KEY}"]'], "`url` names no place"),
        (['url = "s3://"', f'trust = ["{KEY}"]'], "`url` names no place"),
        (['url = "s3://models"'], "`trust` names nobody: whoever can write there could put anything"),
        (['url = "https://models"'], "`trust` names nobody"),
        (['url = "http://models"', f'trust = ["{KEY}"]'], "`url` is not encrypted"),
        (['url = "file://folder"'], "`url` is no absolute path"),
        (
            ['url = "s3://a"', 'trust = ["ed25519:AAAA"]'],
            "`trust`, number 1, is no public key: it has 3 bytes",
        ),
        (['url = "s3://a"', f'trust = ["{KEY}", {{key = "{OTHER}", steps = []}}]'], "steps"),
    ],
)
def test_what_is_wrong_is_said_wherever_it_is_read(tmp_path: Path, lines: list[str], words: str) -> None:
    project(tmp_path, *lines)
    for reads in (configured, defaults.above):
        with pytest.raises(RecipeError) as caught:
            reads(tmp_path)
        diagnostic = caught.value.diagnostics[0]
        assert words in diagnostic.message
        assert diagnostic.message.startswith("[tool.modelbuild")
        assert diagnostic.hint
        assert "pyproject.toml" in (diagnostic.where or "")


def test_an_unknown_key_is_met_with_one_that_there_is(tmp_path: Path) -> None:
    project(tmp_path, 'url = "file:///team"', "trusted = []")
    with pytest.raises(RecipeError, match="unknown key `trusted`"):
        configured(tmp_path)
    with pytest.raises(RecipeError, match="trusted"):
        defaults.above(tmp_path)
