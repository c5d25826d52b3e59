"""The lock file lies beside its recipe, and is written only if it moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelbuild import lockfile
from modelbuild.base.errors import RecipeError
from tests.lockfile.samples import FP32, NET, locked


def test_the_file_lies_beside_its_recipe_and_is_written_only_if_it_moved(tmp_path: Path) -> None:
    path = lockfile.place(tmp_path / "resnet50.v2.yaml")
    assert path == tmp_path / "resnet50.v2.lock.yaml"
    assert lockfile.save(locked(), path)
    before = path.stat()
    assert not lockfile.save(locked(), path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert lockfile.load(path) == locked()
    assert lockfile.save(locked({NET: FP32}), path)
    assert lockfile.load(path) == locked({NET: FP32})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "net.lock.yaml"
    path.write_bytes(b"\xff")
    assert lockfile.save(locked(), path)
    assert lockfile.load(path) == locked()


def test_a_file_that_is_not_there_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        lockfile.load(tmp_path / "net.lock.yaml")
    (told,) = caught.value.diagnostics
    assert (told.code, told.message) == ("lock-missing", "there is no lock file")
    assert (told.hint, caught.value.exit_code) == ("`modelbuild build --lock` writes it", 2)
    with pytest.raises(RecipeError) as caught:
        lockfile.load(tmp_path)
    assert caught.value.diagnostics[0].message == "cannot read the lock file: Is a directory"
