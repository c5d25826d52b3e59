"""Whose a path is."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

from modelbuild.trace.places import Places, is_standard


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("{base}/net.py", True),
        ("{base}/cache/objects/x", False),
        ("{base}/cached.py", True),
        ("{base}/.venv/lib/mine.py", True),
        ("/usr/local/src/app/net.py", True),
        ("/opt/conda/models/net.py", True),
        ("/data/weights.bin", True),
        ("{purelib}/torch/__init__.py", False),
        ("{stdlib}/json/__init__.py", False),
        ("/usr/share/zoneinfo/UTC", False),
        ("/usr/local/lib/libx.so", False),
        ("/proc/self/maps", False),
        ("{own}/trace/facts.py", False),
    ],
)
def test_what_is_installed_or_written_by_the_build_is_not_the_users(
    tmp_path: Path, path: str, counts: bool
) -> None:
    import modelbuild

    own = os.path.dirname(str(modelbuild.__file__))
    path = path.format(base=tmp_path, own=own, **sysconfig.get_paths())
    assert Places(tmp_path, (tmp_path / "cache",)).counts(path) is counts


def test_of_two_folders_the_inner_one_says(tmp_path: Path) -> None:
    inner = tmp_path / "build/project"
    inner.mkdir(parents=True)
    places = Places(inner, (tmp_path / "build",))
    assert places.counts(str(inner / "net.py"))
    assert not places.counts(str(tmp_path / "build/other/net.onnx"))


def test_a_link_into_an_installed_folder_is_installed_and_one_out_of_it_is_the_users(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (tmp_path / "json").symlink_to(sysconfig.get_paths()["stdlib"] + "/json")
    places = Places(tmp_path)
    assert not places.counts(str(tmp_path / "json/decoder.py"))
    assert places.counts(str(checkout / "part.py"))


def test_site_packages_within_the_standard_librarys_folder_are_not_standard() -> None:
    stdlib = sysconfig.get_paths()["stdlib"]
    assert is_standard(f"{stdlib}/json/decoder.py")
    assert not is_standard(f"{stdlib}/site-packages/torch/__init__.py")
