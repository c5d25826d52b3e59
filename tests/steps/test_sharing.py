"""Two sets of a recipe's own inputs: whether they share a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.base.tensors import Axis, TensorSpec
from modelbuild.steps.sharing import FilesAt, same_file, same_sample

X = TensorSpec("x", "float32", ("batch", 3))
MASK = TensorSpec("mask", "int64", ("batch", 3))
AXES = (Axis("batch", 1, 2, 8),)


def rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def written(path: Path, x: np.ndarray, mask: np.ndarray | None = None) -> Path:
    np.savez(path, x=x, mask=np.ones(x.shape, np.int64) if mask is None else mask)
    return path


def told(one: list[Path], other: list[Path]) -> Diagnostic | None:
    return same_sample(FilesAt("one.data", one), FilesAt("other.data", other), (X, MASK), AXES)


def test_one_file_under_two_names_is_one_file(tmp_path: Path) -> None:
    a = written(tmp_path / "a.npz", rows(1, 0))
    (tmp_path / "link.npz").symlink_to(a)
    other = written(tmp_path / "b.npz", rows(1, 0))
    said = same_file(FilesAt("one.data", [other, a]), FilesAt("other.data", [tmp_path / "link.npz"]))
    assert said is not None
    told = "a.npz of `one.data` and link.npz of `other.data` are one file"
    assert (said.code, said.message) == ("inputs-mismatch", told)
    assert same_file(FilesAt("one.data", [a]), FilesAt("other.data", [other])) is None


def test_the_same_arrays_in_another_file_are_the_same_sample(tmp_path: Path) -> None:
    a = written(tmp_path / "a.npz", rows(2, 0))
    b = written(tmp_path / "b.npz", rows(2, 0).astype(np.float64))
    said = told([a], [b])
    assert said is not None
    assert said.message == "a.npz of `one.data` and b.npz of `other.data` hold the same sample"
    assert "proves nothing" in str(said.hint)


def test_a_sample_is_found_in_a_batch(tmp_path: Path) -> None:
    batch = written(tmp_path / "batch.npz", rows(4, 0))
    one = written(tmp_path / "one.npz", rows(4, 0)[2:3])
    other = written(tmp_path / "other.npz", np.concatenate([rows(1, 9), rows(4, 0)[:1]]))
    for pair in ((batch, one), (one, batch), (batch, other), (other, batch)):
        assert told([pair[0]], [pair[1]]) is not None
    assert told([one], [other]) is None


@pytest.mark.parametrize("differs", ["x", "mask"])
def test_samples_that_differ_in_one_input_are_two(differs: str, tmp_path: Path) -> None:
    x, mask = rows(1, 0), np.array([[1, 0, 1]])
    a = written(tmp_path / "a.npz", x, mask)
    b = written(tmp_path / "b.npz", x + (differs == "x"), mask * (1 + (differs == "mask")))
    assert told([a], [b]) is None


def test_padding_is_nobodys_sample(tmp_path: Path) -> None:
    a = written(tmp_path / "a.npz", np.concatenate([rows(1, 0), np.zeros((1, 3), np.float32)]))
    b = written(tmp_path / "b.npz", np.concatenate([rows(1, 1), np.zeros((1, 3), np.float32)]))
    assert told([a], [b]) is None


def test_what_cannot_be_read_holds_no_sample(tmp_path: Path) -> None:
    a = written(tmp_path / "a.npz", rows(1, 0))
    (tmp_path / "b.npz").write_text("nothing")
    assert told([a], [tmp_path / "b.npz"]) is None
