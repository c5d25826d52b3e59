"""PyTorch held against itself, and what a proof makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from modelbuild.base.tolerance import Tolerance
from modelbuild.steps import compare
from modelbuild.steps.conditioning import IN_FLOAT64, MOVED, Own, measured
from modelbuild.steps.model import ModelSource
from modelbuild.steps.proof import Proof
from modelbuild.steps.reference import Case
from tests.steps.test_proof import Of

TOLERANCE = Tolerance(rtol=1e-3, atol=1e-4, relative_l2=1e-3, mismatch=1e-3)
MODEL = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(3e4))

    def forward(self, x):
        return {}
"""
WAVE = "torch.sin(x * self.factor)"
FLOAT32 = "torch.sin(torch.mm(x, torch.eye(8)) * self.factor)"  # no float64 goes through it


def _own(folder: Path, forward: str) -> tuple[np.ndarray, np.ndarray, Own | None]:
    (folder / "wave.py").write_text(MODEL.replace("{}", forward))
    x = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    y = np.sin(x * np.float32(3e4))
    (own,) = measured(ModelSource("wave:Net"), folder, ["x"], [({"x": x}, [y])], [(TOLERANCE, False)])
    return x, y, own


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "wave", raising=False)


def test_pytorch_is_asked_in_float64(tmp_path: Path) -> None:
    x, y, own = _own(tmp_path, WAVE)
    exact = np.sin(x.astype(np.float64) * 3e4)
    assert own is not None
    assert own.how == IN_FLOAT64
    (found,) = own.distances
    assert found is not None
    assert found.relative_l2 == pytest.approx(np.linalg.norm(y - exact) / np.linalg.norm(y), rel=0.02)


def test_where_float64_does_not_run_inputs_and_weights_are_moved(tmp_path: Path) -> None:
    _, _, own = _own(tmp_path, FLOAT32)
    assert own is not None
    assert own.how == MOVED
    (found,) = own.distances
    assert found is not None
    # A phase of up to 1e5 moves by one unit in the last place of x, and of the product: 2**-8 and 2**-7.
    assert 1e-3 < found.relative_l2 < 2e-2


def test_a_model_that_runs_neither_way_says_nothing(tmp_path: Path) -> None:
    assert _own(tmp_path, "1 / 0")[2] is None


# ---- what a proof makes of it -----------------------------------------------------------------

WANT = np.linspace(1, 2, 1000, dtype=np.float32)


def _proof(error: float, own: float, conditioning: float | None = None) -> Proof:
    """Of a file that is off by ``error``, where PyTorch is off by ``own``; relative to the output."""
    tolerance = Tolerance(relative_l2=1e-4, conditioning=conditioning)
    proof = Proof(Of(tolerance), ["y"])
    proof.add(Case("one", {"n": 3}, 0), [WANT], lambda _: [WANT * np.float32(1 + error)], {})
    assert proof.failing_files() == ["one"]
    apart = compare.distance(WANT, WANT.astype(np.float64) * (1 + own), proof.bounds["y"])
    proof.doubt({"one": Own(IN_FLOAT64, (apart,))})
    return proof


@pytest.mark.parametrize(
    ("error", "own", "code"),
    [
        pytest.param(2e-4, 1e-4, "ill-conditioned", id="twice-as-far-off"),
        pytest.param(2e-4, 1e-5, "parity-failed", id="twenty-times-as-far-off"),
        pytest.param(2e-4, 1e-6, "parity-failed", id="pytorch-is-as-near-as-any-network"),
    ],
)
def test_a_file_as_far_off_as_pytorch_itself_is_ill_conditioned(error: float, own: float, code: str) -> None:
    (said,) = _proof(error, own).errors()
    assert said.code == code


def test_both_errors_and_what_would_accept_them_are_told() -> None:
    (said,) = _proof(2.5e-4, 1e-4).errors()
    assert said.message.startswith("output `y` at n=3: relative L2 0.00025, ")
    assert "PyTorch's float32 differs from itself as much in float64: relative L2 0.0001, " in said.message
    assert said.message.endswith("the file is 2.5 times as far off")
    assert said.hint is not None
    assert said.hint.startswith("accept it with `tolerance: {conditioning: 4}`")


def test_a_recipe_may_allow_as_many_times_the_error_of_pytorch() -> None:
    proof = _proof(2.5e-4, 1e-4, conditioning=3)
    assert proof.errors() == []
    (said,) = proof.allowances()
    assert (said.code, said.level) == ("ill-conditioned", "warning")
    assert "its error is 2.5 times that of PyTorch's float32" in said.message
    assert proof.parity(proof.record("cpu"))["outputs"]["y"]["headroom"] == pytest.approx(3 / 2.5, rel=1e-3)


def test_a_file_that_is_really_wrong_is_told_so_whatever_a_recipe_allows() -> None:
    (said,) = _proof(2e-2, 1e-4, conditioning=2).errors()
    assert said.code == "parity-failed"
    assert said.message.endswith("; 2e+02 times PyTorch's own error")


def test_more_than_a_recipe_allows_fails_and_says_what_it_allows() -> None:
    (said,) = _proof(2.5e-4, 1e-4, conditioning=2).errors()
    assert said.code == "ill-conditioned"
    assert said.message.endswith("2.5 times as far off; `conditioning` allows 2 times")


@pytest.mark.parametrize(
    ("file", "itself", "codes"),
    [
        pytest.param([2, 1], [0, 2], ["ill-conditioned"], id="flips-on-other-inputs"),
        pytest.param([2, 1], [0, 0], ["parity-failed"], id="flips-by-the-file-alone"),
    ],
)
def test_codes_that_flip_are_counted_over_all_inputs(
    file: Sequence[int], itself: Sequence[int], codes: Sequence[str]
) -> None:
    codes_of = np.arange(1000) % 7

    def flipped(many: int) -> np.ndarray:
        return np.where(np.arange(1000) < many, -1, codes_of)

    proof = Proof(Of(Tolerance(mismatch=1e-4)), ["y"], counted=frozenset({"y"}))
    for name, many in zip("ab", file, strict=True):
        proof.add(Case(name, {"n": 3}, 0), [codes_of], lambda _, m=many: [flipped(m)], {})  # type: ignore[misc]
    owns = [compare.distance(codes_of, flipped(many), proof.bounds["y"], counted=True) for many in itself]
    proof.doubt({n: Own(MOVED, (own,)) for n, own in zip("ab", owns, strict=True)})
    (said,) = proof.errors()
    assert [said.code] == codes
    assert said.code == "parity-failed" or "itself as much with inputs and weights moved" in said.message
    assert said.code == "parity-failed" or "2 of 2,000 elements differ; the file is 1.5 times" in said.message


def test_an_infinity_is_no_matter_of_conditioning() -> None:
    proof = Proof(Of(Tolerance(relative_l2=1e-3, conditioning=9)), ["y"])
    proof.add(Case("one", {"n": 3}, 0), [WANT], lambda _: [WANT * np.float32(math.inf)], {})
    assert proof.failing_files() == []
    proof.doubt({})
    assert [d.code for d in proof.errors()] == ["not-finite"]
