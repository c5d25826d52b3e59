"""The verdict over several cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.base.tolerance import Tolerance
from modelbuild.steps.proof import Proof
from modelbuild.steps.reference import Case


@dataclass(frozen=True)
class Of:
    """The least that a proof asks of its step."""

    tolerance: Tolerance
    function: str | None = None
    precision: str = "fp32"


def _vacuous(proof: Proof) -> list[Diagnostic]:
    return proof.record("cpu").vacuous(proof.of.tolerance, proof.of.precision)


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
    assert [d.code for d in _vacuous(proof)] == ["vacuous-check"] * vacuous


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
    (said,) = _vacuous(proof)
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


@pytest.mark.parametrize(
    ("want", "have", "squeezed"),
    [((3,), (1, 3), True), ((1, 3), (3,), True), ((3,), (1, 4), False), ((1, 3), (3, 1), False)],
)
def test_an_axis_that_squeeze_dropped_is_told_as_that(
    want: tuple[int, ...], have: tuple[int, ...], squeezed: bool
) -> None:
    proof = Proof(Of(Tolerance(relative_l2=1e-2)), ["y"])
    arrays = [np.ones(shape, np.float32) for shape in (want, have)]
    proof.add(Case("", {"batch": 1}, 0), arrays[:1], lambda _: arrays[1:], {})
    (said,) = proof.errors()
    assert said.code == "baked-axis"
    message = f"output `y` has shape {have}, PyTorch {want}, at batch=1"
    assert said.message == message + ": `squeeze` drops an axis" * squeezed
    assert ("name the axis that is always 1 (`squeeze(-1)`)" in str(said.hint)) == squeezed


def _proof(tolerance: Tolerance, pairs: Sequence[tuple[np.ndarray, np.ndarray]], **more: object) -> Proof:
    proof = Proof(Of(tolerance), ["y"], **more)  # type: ignore[arg-type]
    for sample, (want, got) in enumerate(pairs):
        proof.add(Case("", {"n": len(want)}, sample), [want], lambda _, got=got: [got], {})  # type: ignore[misc]
    return proof


TIES = [(np.arange(1000) % 7, np.where(np.arange(1000) < wrong, -1, np.arange(1000) % 7)) for wrong in (0, 2)]


@pytest.mark.parametrize(
    ("mismatch", "decided", "said"),
    [
        pytest.param(1e-2, {"y"}, "", id="as-many-as-may-differ"),
        pytest.param(1e-3, {"y"}, "2 of 1,000 elements differ, against mismatch 0.001 (", id="more"),
        pytest.param(
            1e-2, set(), "2 of 1,000 elements differ, against none: integers alone make them (", id="no-float"
        ),
    ],
)
def test_of_what_is_counted_a_share_may_differ_where_floats_decide(
    mismatch: float, decided: set[str], said: str
) -> None:
    errors = _proof(Tolerance(mismatch=mismatch), TIES, counted=frozenset(decided)).errors()
    assert [d.code for d in errors] == ["parity-failed"] * bool(said)
    assert all(said in d.message for d in errors)


def test_how_many_elements_are_beyond_the_bound_is_told() -> None:
    want = np.ones(1000, np.float32)
    got = np.where(np.arange(1000) < 30, np.float32(2), want)
    (error,) = _proof(Tolerance(rtol=1e-3, atol=1e-4), [(want, got)]).errors()
    assert "30 of 1,000 elements are beyond it" in error.message


@pytest.mark.parametrize(
    ("outputs", "live", "said"),
    [
        pytest.param([np.empty((0, 4))] * 2, {"y"}, "empty", id="nothing-above-a-threshold"),
        pytest.param([np.arange(3)] * 2, {"y"}, "the same", id="integers-that-never-change"),
        pytest.param([np.array([True, False])] * 2, {"y"}, "the same", id="bools-that-never-change"),
        pytest.param([np.arange(3)] * 2, set(), "", id="integers-of-sizes-alone"),
        pytest.param([np.arange(3), np.arange(3) + 1], {"y"}, "", id="integers-that-change"),
    ],
)
def test_what_is_empty_or_never_changes_proves_nothing(
    outputs: Sequence[np.ndarray], live: set[str], said: str
) -> None:
    found = _vacuous(_proof(Tolerance(), [(o, o) for o in outputs], live=frozenset(live)))
    assert [d.code for d in found] == ["vacuous-check"] * bool(said)
    assert all(d.message.startswith(f"PyTorch's output `y` is {said} for every input") for d in found)


@pytest.mark.parametrize(
    ("tolerance", "factor", "level"),
    [
        pytest.param(Tolerance(rtol=1e-3, atol=1e-4), 1.92, "error", id="wrong-and-passed-by-a-floor"),
        pytest.param(
            Tolerance(atol=1e-4, rtol=1e-3, relative_l2=1e-3), 1.0, None, id="bounded-by-its-size-too"
        ),
        pytest.param(Tolerance(rtol=1e-3, atol=1e-7), 1.0, None, id="a-floor-below-its-size"),
    ],
)
def test_a_floor_above_an_outputs_size_is_no_bound(
    tolerance: Tolerance, factor: float, level: str | None
) -> None:
    small = [np.linspace(1e-6, 1e-5, 9, dtype=np.float32) * k for k in (1, 2)]
    proof = _proof(tolerance, [(o, o * np.float32(factor)) for o in small])
    found = _vacuous(proof)
    assert [d.level for d in found] == [level] * bool(level)
    assert all("is no bound for output `y`: zeros would pass, too" in d.message for d in found)


def test_the_defaults_fail_a_relative_error_at_any_size() -> None:
    small = np.linspace(1e-6, 1e-5, 9, dtype=np.float32)
    tolerance = Tolerance(rtol=1e-3, atol=1e-4, relative_l2=1e-3, mismatch=1e-3)
    (error,) = _proof(tolerance, [(small, small * np.float32(1.92))]).errors()
    assert "relative L2 0.92" in error.message


def test_an_output_with_bounds_of_its_own_is_judged_by_those_alone() -> None:
    own = Tolerance(relative_l2=1e-6, outputs={"y": Tolerance(atol=0.5)})
    assert _proof(own, [(np.ones(4), np.ones(4) + 0.4)]).errors() == []
