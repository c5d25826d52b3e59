"""What `check` sees of int8: of the files of a recipe's own inputs, by their names and the directories of
their archives, and of what its opset has."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.building import checking
from modelbuild.building.checks import samples
from modelbuild.building.request import Request

RECIPE = """\
model: {import: "net:Net"}
inputs: {ids: {shape: [4], dtype: int64}, mask: {shape: [4]}}
precision:
  int8:
    calibration:
      data: [calibration/*.npz]
verify:
  data: [proofs/*.npz]
"""
HERE, THERE = "net.yaml:6:14", "net.yaml:8:10"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe with one right file of each kind."""
    (tmp_path / "net.py").write_text("class Net: ...\n")
    (tmp_path / "net.yaml").write_text(RECIPE)
    for number, kind in enumerate(("calibration", "proofs")):
        (tmp_path / kind).mkdir()
        _save(tmp_path / kind / f"{number}.npz", "ids", "mask")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _save(path: Path, *names: str) -> None:
    np.savez(path, **{name: np.zeros(4) for name in names})


def _found() -> list[Diagnostic]:
    result = checking.check(Request(["net.yaml"]))
    return [d for r in result.recipes for d in r.diagnostics if d.code != "opset-mismatch"]


def test_files_with_an_array_for_each_input_are_right(folder: Path) -> None:
    _save(folder / "calibration/more.npz", "ids", "mask", "labels")

    assert _found() == []


@pytest.mark.parametrize(
    ("place", "key", "where"),
    [("calibration", "precision.int8.calibration.data", HERE), ("proofs", "verify.data", THERE)],
)
def test_a_file_that_lacks_an_input_is_told_at_its_pattern(
    folder: Path, place: str, key: str, where: str
) -> None:
    _save(folder / place / "b.npz", "ids", "attention")
    _save(folder / place / "c.npz", "ids")

    (found,) = _found()

    assert (found.level, found.code, found.where) == ("error", "inputs-mismatch", where)
    assert found.message == f"`{key}`: {place}/b.npz has no array `mask`; it has `ids`, `attention`"
    assert found.hint == "each file has an array per input, under the input's name"


def test_a_name_that_is_nearly_right_is_the_hint(folder: Path) -> None:
    _save(folder / "calibration/0.npz", "ids", "masks")

    (found,) = _found()

    assert found.hint == "did you mean `masks`?"


def test_a_file_without_any_array_has_nothing(folder: Path) -> None:
    np.savez(folder / "calibration/0.npz")

    (found,) = _found()

    assert found.message.endswith("calibration/0.npz has no array `ids`; it has nothing")


@pytest.mark.parametrize("arrays", [3, 2_000])
def test_few_of_very_many_names_are_told(folder: Path, arrays: int) -> None:
    with zipfile.ZipFile(folder / "calibration/0.npz", "w") as archive:
        for number in range(arrays):
            archive.writestr(f"a{number}\x1b[31m.npy", b"")

    (found,) = _found()

    assert "\x1b" not in found.message
    assert len(found.message) < 300
    assert ("and 1995 more" in found.message) == (arrays == 2_000)


@pytest.mark.parametrize(
    "content", [b"", b"PK\5\6", b"PK\5\6" + b"\xff" * 18, b"PK\5\6" + b"\x01" * 200, b"\x93NUMPY"]
)
def test_of_what_is_no_archive_nothing_is_said_here(folder: Path, content: bytes) -> None:
    (folder / "calibration/0.npz").write_bytes(content)

    assert _found() == []


def test_a_directory_that_is_too_large_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(folder / "calibration/0.npz", "other")
    assert len(_found()) == 1
    monkeypatch.setattr(samples, "_LARGEST", 10)

    assert _found() == []


def test_what_a_link_leads_out_to_is_not_quoted(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.npz"
    _save(elsewhere, "password")
    (folder / "calibration/link.npz").symlink_to(elsewhere)

    assert _found() == []


def test_what_is_no_file_does_not_hold_it_up(folder: Path) -> None:
    os.mkfifo(folder / "calibration/pipe.npz")
    (folder / "calibration/folder.npz").mkdir()

    assert _found() == []


def test_a_file_that_proof_and_calibration_name_is_told_before_a_build(folder: Path) -> None:
    (folder / "net.yaml").write_text(RECIPE.replace("[proofs/*.npz]", "[proofs/*.npz, calibration/0.npz]"))

    (found,) = _found()

    assert (found.level, found.code, found.where) == ("error", "inputs-mismatch", HERE)
    assert found.message == "0.npz is in both `precision.int8.calibration.data` and `verify.data`"
    assert found.hint == "what was calibrated on proves nothing: keep files apart for `verify.data`"


def test_so_it_is_where_it_has_two_names_which_are_both_told(folder: Path) -> None:
    (folder / "proofs/other.npz").symlink_to(folder / "calibration/0.npz")

    (found,) = _found()

    assert found.message == (
        "0.npz of `precision.int8.calibration.data` and other.npz of `verify.data` are one file"
    )


def test_a_pattern_of_the_calibration_that_matches_nothing_is_an_error(folder: Path) -> None:
    (folder / "net.yaml").write_text(RECIPE.replace("calibration/*.npz", "calibrations/*.npz"))

    (found,) = _found()

    assert (found.code, found.where) == ("recipe-invalid", HERE)
    assert found.message == (
        f"`precision.int8.calibration.data`: `calibrations/*.npz` matches no file in {folder}"
    )


@pytest.mark.parametrize(
    ("opset", "base", "told"),
    [
        (13, "fp16", "int8 with fp16 around it needs opset 19: its files are raised from 13"),
        (19, "fp16", None),
        (12, "fp32", "int8 with fp32 around it needs opset 13: its files are raised from 12"),
        (13, "fp32", None),
    ],
)
def test_an_opset_that_is_too_low_for_the_base_is_told_at_its_place(
    folder: Path, opset: int, base: str, told: str | None
) -> None:
    text = RECIPE.replace("  int8:\n", f"  int8:\n    base: {base}\n")
    (folder / "net.yaml").write_text(f"opset: {opset}\n{text}")

    found = [d for r in checking.check(Request(["net.yaml"])).recipes for d in r.diagnostics]

    assert [(d.message, d.level, d.where) for d in found] == (
        [(told, "info", "net.yaml:1:1")] if told else []
    )
