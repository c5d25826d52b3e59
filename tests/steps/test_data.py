"""A recipe's own inputs: what is taken, what is told of it, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.base.tensors import Axis, TensorSpec
from modelbuild.steps.data import OwnInputs
from modelbuild.steps.reference import Sampling, load, record

AXES = (Axis("batch", 1, 2, 4), Axis("rows", 2, 3, 8))
X = TensorSpec("x", "float32", ("batch", 3))
MASK = TensorSpec("mask", "int32", ("batch", "rows"))
NAN, INF = float("nan"), float("inf")


def read(path: Path, *specs: TensorSpec, **arrays: Any) -> tuple[dict[str, Any], OwnInputs]:
    np.savez(path / "one.npz", **arrays)
    own = OwnInputs(specs, AXES)
    return own.read(path / "one.npz")[0], own


def refused(path: Path, *specs: TensorSpec, **arrays: Any) -> Diagnostic:
    with pytest.raises(StepError) as raised:
        read(path, *specs, **arrays)
    (said,) = raised.value.diagnostics
    assert said.code == "inputs-mismatch"
    return said


@pytest.mark.parametrize(
    ("have", "dtype", "said"),
    [
        (np.float32([[1, 2, 3]]), "float32", None),
        (np.array([[1, 2, 3]], ">f4"), "float32", None),
        (np.float64([[0.1, 2, INF]]), "float32", "`x` is float64, not float32, in one.npz"),
        (np.float16([[1, 2, 3]]), "float64", "`x` is float16, not float64, in one.npz"),
        (np.int64([[1, 2, -3]]), "int32", "`x` is int64, not int32, in one.npz"),
        (np.uint64([[1, 2, 3]]), "int64", "`x` is uint64, not int64, in one.npz"),
        (np.int64([[1, 0, 1]]), "bool", "`x` is int64, not bool, in one.npz"),
        (np.array([[True, False, True]]), "int64", "`x` is bool, not int64, in one.npz"),
    ],
)
def test_values_of_a_like_type_become_those_of_the_recipe_and_it_is_said(
    have: Any, dtype: str, said: str | None, tmp_path: Path
) -> None:
    arrays, own = read(tmp_path, TensorSpec("x", dtype, ("batch", 3)), x=have)
    assert arrays["x"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(arrays["x"], have.astype(dtype))
    told = [d for d in own.said() if d.code == "data-converted"]
    assert [d.level for d in told] == ["info"] * (said is not None)
    assert [d.message for d in told] == ([f"{said} of `verify.data`: converted"] if said else [])


@pytest.mark.parametrize(
    ("have", "dtype", "said"),
    [
        (np.float64([[9e99, 0, 0]]), "float32", "float64, the recipe says float32, which cannot hold 9e+99"),
        (np.int64([[0, 2**31, 0]]), "int32", "int64, the recipe says int32, which cannot hold 2.14748e+09"),
        (np.uint64([[0, 2**63, 0]]), "int64", "uint64, the recipe says int64, which cannot hold 9.22337e+18"),
        (np.int8([[0, -1, 0]]), "uint8", "int8, the recipe says uint8, which cannot hold -1"),
        (np.int64([[0, 1, 2]]), "bool", "int64, the recipe says bool, which cannot hold 2"),
        (np.uint8([[0, 1, 2]]), "float32", "uint8, the recipe says float32"),
        (np.float32([[0, 1, 2]]), "int64", "float32, the recipe says int64"),
        (np.array([["a", "b", "c"]]), "float32", "str32, the recipe says float32"),
    ],
)  # fmt: skip
def test_values_that_would_be_others_in_the_recipes_type_are_refused(
    have: Any, dtype: str, said: str, tmp_path: Path
) -> None:
    assert (
        refused(tmp_path, TensorSpec("x", dtype, ("batch", 3)), x=have).message == f"one.npz: `x` is {said}"
    )


@pytest.mark.parametrize(
    ("x", "mask", "said", "hint"),
    [
        ((2, 3), (2, 9), "`mask` has shape [2, 9]: rows=9 is outside its range of 2 to 8", "rows: {max: 9}"),
        ((2, 3), (2, 1), "`mask` has shape [2, 1]: rows=1 is outside its range of 2 to 8", "rows: {min: 1}"),
        ((0, 3), (0, 2), "`x` has shape [0, 3]: batch=0 is outside its range of 1 to 4", "leave it out"),
        ((2, 3), (1, 4), "`mask` has shape [1, 4], where batch is 1; in `x` it is 2", "np.savez"),
        ((2, 5), (2, 4), "`x` has shape [2, 5], the recipe says [batch, 3]", "np.savez"),
        ((3,), (2, 4), "`x` has shape [3], the recipe says [batch, 3]", "save `x[None]`"),
        ((2, 1, 3), (2, 4), "`x` has shape [2, 1, 3], the recipe says [batch, 3]", "np.savez"),
    ],
)  # fmt: skip
def test_sizes_that_the_recipe_does_not_have_are_named_with_file_and_input(
    x: tuple[int, ...], mask: tuple[int, ...], said: str, hint: str, tmp_path: Path
) -> None:
    told = refused(tmp_path, X, MASK, x=np.zeros(x, np.float32), mask=np.zeros(mask, np.int32))
    assert told.message == f"one.npz: {said}"
    assert hint in str(told.hint)


def test_an_npy_file_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.ones((2, 3)))
    arrays, sizes = OwnInputs([X], AXES).read(tmp_path / "one.npy")
    assert (arrays["x"].tolist(), sizes) == ([[1, 1, 1], [1, 1, 1]], {"batch": 2})
    with pytest.raises(StepError, match=r"one.npy holds one array, and the recipe has 2 inputs: `x`, `mask`"):
        OwnInputs([X, MASK], AXES).read(tmp_path / "one.npy")


def test_files_that_hold_no_such_arrays_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, X, other=np.ones(3)).message == "one.npz has no array `x`; it has `other`"
    assert refused(tmp_path, X).message == "one.npz has no array `x`; it has nothing"
    nothing = "cannot be read: it is no .npz or .npy file, or holds Python objects instead of numbers"
    assert refused(tmp_path, X, x=np.array([object()])).message == f"one.npz {nothing}"
    (tmp_path / "two.npz").write_text("x,y\n1,2\n")
    with pytest.raises(StepError, match=f"two.npz {nothing}"):
        OwnInputs([X], AXES).read(tmp_path / "two.npz")


def test_arrays_that_no_input_has_are_not_looked_at(tmp_path: Path) -> None:
    arrays, own = read(tmp_path, X, x=np.ones((1, 3), np.float32), labels=np.array([object()]))
    assert (list(arrays), own.said()) == (["x"], ())


@pytest.mark.parametrize(
    ("row", "level", "counts"),
    [
        ([1, NAN, NAN], "warning", "2 NaN"),
        ([-INF, 0, NAN], "warning", "1 NaN and 1 infinite"),
        ([-INF, 0, INF], "info", "2 infinite"),
        ([1, 2, 3], None, None),
    ],
)
def test_values_that_are_no_numbers_are_told_with_file_and_input(
    row: list[float], level: str | None, counts: str, tmp_path: Path
) -> None:
    _, own = read(tmp_path, X, x=np.float32([row]))
    told = [(d.code, d.level, d.message) for d in own.said()]
    message = f"`x` in one.npz of `verify.data` has {counts} among its 3 values"
    assert told == ([("data-not-finite", level, message)] if level else [])


def test_many_files_are_told_in_one_word_and_all_of_them_run(tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy", "c.npy"):
        np.save(tmp_path / name, np.array([[1, 2, INF if name != "b.npy" else 0.0]]))
    (tmp_path / "out").mkdir()
    sampling = Sampling((X,), AXES[:1], ({"batch": 2},), 1, 0, ("*.npy",))
    said, _ = record(sampling, lambda arrays: [arrays["x"] * 2], tmp_path, tmp_path / "out", 1.0)
    assert [d.message for d in said] == [
        "`x` is float64, not float32, in a.npy and 2 more files of `verify.data`: converted",
        "`x` in a.npy of `verify.data` has 1 infinite among its 3 values; so does 1 more file",
    ]
    own = [arrays["x"] for case, arrays, _ in load(tmp_path / "out") if case.row is None]
    assert [(a.dtype.name, a[0, 0]) for a in own] == [("float32", 1.0)] * 3


def test_a_file_on_which_the_model_fails_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.full((1, 3), -1, np.float32))
    (tmp_path / "out").mkdir()

    def call(arrays: Any) -> list[Any]:
        if (arrays["x"] == -1).all():
            raise ValueError("no such thing")
        return [arrays["x"]]

    sampling = Sampling((X,), AXES[:1], ({"batch": 2},), 1, 0, ("bad.npy",))
    with pytest.raises(StepError, match=r"the model itself fails at batch=1 of bad.npy: ValueError: no such"):
        record(sampling, call, tmp_path, tmp_path / "out", 1.0)
