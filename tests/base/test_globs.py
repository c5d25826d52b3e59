"""A pattern means what ``glob`` says, and leads through no link."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest

from modelbuild.base import globs
from modelbuild.base.errors import StepError
from modelbuild.base.globs import matches
from modelbuild.steps.patterns import matching

FILES = ("a/b/c.txt", "a/d.txt", ".h/x.txt", "e.txt", "a/.k", "n[1]/z.txt", "a/b/g/h.npz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        "**", "a/**", "**/*.txt", "*", "*.txt", "a/*", "**/b/**", "a/**/c.txt", "a/**/**/c.txt", ".*", "a/.*",
        "**/.k", "./a/*", "a/../*", "[.]h/*", "n[[]1]/*", "*/*", "*/*/*", "a", "nope", "a/nope*", "a/d.txt/*",
        "*/**/*.npz", "?.txt",
    ],
)  # fmt: skip
def test_a_pattern_means_what_glob_says(folder: Path, pattern: str) -> None:
    assert matches(pattern, folder) == sorted(set(glob.glob(pattern, root_dir=folder, recursive=True)))


def test_an_absolute_pattern_gives_absolute_paths(folder: Path) -> None:
    assert matches(f"{folder}/a/*.txt", Path("/")) == [f"{folder}/a/d.txt"]


def test_a_wildcard_follows_no_link_to_a_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").touch()
    (folder / "a/out").symlink_to(outside)
    (folder / "a/loop").symlink_to(folder)
    assert matches("**/*.txt", folder) == ["a/b/c.txt", "a/d.txt", "e.txt", "n[1]/z.txt"]
    assert matches("a/*/*.txt", folder) == ["a/b/c.txt"]


def test_a_link_that_is_named_is_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "x.npz").touch()
    (folder / "data").symlink_to(outside)
    assert matches("data/**/*.npz", folder) == ["data/x.npz"]


def test_a_pattern_that_would_walk_a_disk_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globs, "MOST", 5)
    with pytest.raises(StepError) as caught:
        matching(folder, ["**/*"], "model.files", "import-failed")
    assert caught.value.diagnostics[0].message == "`model.files`: `**/*`: it looks at more than 5 files"


@pytest.mark.parametrize(
    "pattern", ["**/*.txt", "*", "a/*", "a/**/c.txt", ".*", "**/.k", "./a/*.txt", "*/*/*", "a/d.txt"]
)
def test_a_path_fits_a_pattern_if_it_would_be_found(folder: Path, pattern: str) -> None:
    fits = globs.fitting(pattern)
    found = {os.path.normpath(name) for name in matches(pattern, folder)}
    assert {name for name in FILES if fits(name.split("/"))} == found & set(FILES)
