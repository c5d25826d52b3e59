"""The verdict over several cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from modelbuild.steps.proof import Proof
from modelbuild.steps.reference import Case
from modelbuild.tolerance import Tolerance


@dataclass(frozen=True)
class Of:
    """The least that a proof asks of its step."""

    tolerance: Tolerance
    function: str | None = None


@pytest.mark.parametrize(
    ("outputs", "vacuous"),
    [
        pytest.param([[1], [1], [0.2, 0.8], [0.3, 0.7]], False, id="a-softmax-over-one-element-first"),
        pytest.param([[1], [1], [0.5, 0.5], [0.5, 0.5]], True, id="constant-at-every-size"),
        pytest.param([[1], [0.5, 0.5], [0.2, 0.2, 0.2]], True, id="constant-with-one-input-per-size"),
        pytest.param([[1], [0.2, 0.8], [0.2, 0.2, 0.6]], False, id="varies-within-one-input"),
        pytest.param([[1]], False, id="one-number-says-nothing"),
    ],
)
def test_an_output_is_constant_only_if_it_is_at_every_size(
    outputs: Sequence[Sequence[float]], vacuous: bool
) -> None:
    proof = Proof(Of(Tolerance(rtol=1e-3, atol=1e-4)), ["y"])
    for value in outputs:
        y = np.array(value, np.float32)
        proof.add(Case("", {"n": len(value)}, 0), [y], lambda _, y=y: [y], {})  # type: ignore[misc]
    assert [d.code for d in proof.vacuous(True)] == ["vacuous-check"] * vacuous


def clears_both(reference: list[np.ndarray], candidate: list[np.ndarray]) -> bool:
    for array in (*reference, *candidate):
        array[...] = 0
    return True


def test_a_function_that_writes_into_its_arrays_changes_nothing_of_the_proof() -> None:
    proof = Proof(Of(Tolerance(rtol=1e-3, atol=1e-4), f"{__name__}:clears_both"), ["y"])
    right, wrong = np.ones(3, np.float32), np.full(3, 2, np.float32)
    proof.add(Case("", {"n": 3}, 0), [right], lambda _: [wrong], {})
    assert (right[0], wrong[0]) == (1, 2)
    assert [d.code for d in proof.errors()] == ["parity-failed"]


def test_a_model_that_gives_nothing_but_nan_is_no_proof() -> None:
    proof = Proof(Of(Tolerance(rtol=1e-3, atol=1e-4)), ["y"])
    nothing = np.full(3, np.nan, np.float32)
    for sample in range(2):
        proof.add(Case("", {"n": 3}, sample), [nothing], lambda _: [nothing], {})
    (said,) = proof.vacuous(True)
    assert (said.code, said.level) == ("vacuous-check", "error")
    assert said.message == "PyTorch's output `y` is NaN for every input: comparing it proves nothing"


@pytest.mark.parametrize(
    ("counted", "code", "hint"),
    [
        pytest.param(
            ["rows"], "parity-failed", "values decide how many there are", id="rows-that-values-decide"
        ),
        pytest.param([], "baked-axis", "look for Python loops", id="a-size-that-is-a-matter-of-sizes"),
    ],
)
def test_rows_that_rounding_lets_through_are_no_baked_axis(counted: list[str], code: str, hint: str) -> None:
    proof = Proof(Of(Tolerance(relative_l2=1e-2)), ["rows", "sum"], lambda: counted)
    one, rows = np.ones(1, np.float32), np.ones((680, 4), np.float32)
    proof.add(Case("a", {"n": 9}, 0), [rows, one], lambda _: [rows[:679], one], {})
    (said,) = proof.errors()
    assert said.code == code
    assert said.message == "output `rows` has shape (679, 4), PyTorch (680, 4), at n=9"
    assert str(said.hint).startswith(hint) or hint in str(said.hint)
    assert [m.headroom for m in proof.measured] == [0.0]
