"""Which files' times tell when they were written."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from modelbuild.machine import untimely

MOUNTS = [("/", "ext4"), ("/home", "nfs4"), ("/home/me/scratch", "xfs"), ("/mnt", "ext4"), ("/mnt", "cifs")]


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/", "ext4"), ("/homes", "ext4"), ("/home", "nfs4"), ("/home/me", "nfs4"),
     ("/home/me/scratch/a", "xfs"), ("/mnt/data", "cifs")],
)  # fmt: skip
def test_a_folder_is_on_what_was_mounted_last_on_its_way(folder: str, kind: str) -> None:
    assert untimely.kind_of(folder, MOUNTS) == kind


def test_where_the_system_says_nothing_its_clock_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert untimely.kind_of("/home", []) is None


def test_this_folder_has_our_clock(tmp_path: Path) -> None:
    assert not untimely.has_another_clock(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("access", "found"), [(mmap.ACCESS_WRITE, True), (mmap.ACCESS_READ, False), (mmap.ACCESS_COPY, False)]
)
def test_only_what_can_be_written_through_a_mapping_is_mapped(
    tmp_path: Path, access: int, found: bool
) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"x" * 100)
    (tmp_path / "link").symlink_to(path)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0, access=access):
        names = {str(path), str(tmp_path / "link")}
        assert untimely.mapped({*names, str(tmp_path / "other")}) == (names if found else set())
    assert untimely.mapped({str(path)}) == set()
