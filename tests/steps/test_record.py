"""A proof's record, judged by another tolerance: the verdict and the figures of a whole proof, exactly."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.base.tolerance import Tolerance
from modelbuild.steps.base import Outcome
from modelbuild.steps.compare import distance, measured
from modelbuild.steps.figures import chain, merged
from modelbuild.steps.proof import Proof
from modelbuild.steps.record import Record
from modelbuild.steps.reference import Case


@dataclass(frozen=True)
class Of:
    tolerance: Tolerance
    function: str | None = None
    precision: str = "fp32"


bound = st.none() | st.sampled_from([0.0, 1e-6, 1e-4, 1e-3, 1e-2, 0.3]) | st.floats(1e-7, 1)
bounds = {"rtol": bound, "atol": bound, "relative_l2": bound, "mismatch": bound,
          "cosine": st.none() | st.sampled_from([0.0, 0.9, 0.999, 1.0]) | st.floats(0.9, 1)}  # fmt: skip
plain = st.builds(Tolerance, **bounds)
tolerances = st.builds(
    Tolerance, **bounds, outputs=st.dictionaries(st.sampled_from(["y", "z"]), plain, max_size=2)
)


def _arrays(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """PyTorch's output and an artifact's, wrong in one of many ways."""
    if kind == "codes":
        want = rng.integers(0, 9, shape)
        return want, np.where(rng.random(shape) < 0.05, 0, want)
    want = rng.normal(0, rng.choice([1e-3, 1, 1e3]), shape)
    if kind == "zeros":
        want = want * (rng.random(shape) < 0.3)
    if kind == "parts":
        want[..., :1] *= 1e-4
    relative, absolute = rng.choice([0, 1e-6, 1e-3, 1e-1], 2)
    have = want * (1 + relative * rng.uniform(-1, 1, shape)) + absolute * rng.normal(0, 1e-2, shape)
    if kind == "rounded":
        have = want.astype(np.float16).astype(np.float64)
    if kind == "infinite":
        have[want > 1] = np.inf
        want[want > 1] = np.inf
    narrow = np.float64 if kind == "parts" else np.float32
    return want.astype(narrow), have.astype(narrow)


KINDS = ["noise", "zeros", "parts", "rounded", "infinite", "codes"]


def _proof(tolerance: Tolerance, seed: int) -> Proof:
    rng = np.random.default_rng(seed)
    proof = Proof(Of(tolerance), ["y", "z"], counted=frozenset({"y"}))
    kinds = rng.choice(KINDS, 2)
    for number in range(int(rng.integers(1, 6))):
        rows = int(rng.choice([1, 8]))
        pairs = [_arrays(rng, kind, (rows, 5)) for kind in kinds]
        outs = [have for _, have in pairs]
        case = Case(f"case-{number}.npz", {"batch": rows}, 0)
        proof.add(case, [want for want, _ in pairs], lambda _, outs=outs: outs, {})
    return proof


def _whole(proof: Proof) -> Outcome | None:
    """As ``Verify`` gives it; None where the proof fails."""
    record = proof.record("cpu")
    empty = record.vacuous(proof.of.tolerance, "fp32")
    if proof.errors() or any(d.level == "error" for d in empty):
        return None
    return Outcome(tuple(empty), {"parity": proof.parity(record)})


@given(tolerances, tolerances, st.integers(0, 10**6))
def test_a_record_judged_anew_says_exactly_what_a_whole_proof_says(
    then: Tolerance, now: Tolerance, seed: int
) -> None:
    written = json.dumps(_proof(then, seed).record("cpu").as_json(), allow_nan=False)
    anew = Record.from_json(json.loads(written)).judged(now, "fp32")
    whole = _whole(_proof(now, seed))
    assert (anew is None) == (whole is None)
    if anew is not None and whole is not None:
        assert anew.data == whole.data
        assert anew.diagnostics == whole.diagnostics


@pytest.mark.parametrize(
    ("off", "others", "level"),
    [(0.5, {"z": Tolerance(rtol=1e-3)}, "error"), (0.01, {"z": Tolerance(rtol=1e-3)}, "warning"),
     (0.01, {}, "error")],
    ids=["one-is-wrong", "one-is-near", "of-no-output-anything-is-proven"],
)  # fmt: skip
def test_a_bound_that_proves_nothing_is_an_error_where_the_output_is_wrong_or_none_is_proven(
    off: float, others: dict[str, Tolerance], level: str
) -> None:
    want = np.linspace(1, 2, 40)
    tolerance = Tolerance(atol=9.0, outputs=others)
    proof = Proof(Of(tolerance), ["y", "z"])
    for factor in (1, 2):
        outs = [factor * want * (1 + off), factor * want]
        proof.add(Case(f"{factor}", {}, 0), [factor * want] * 2, lambda _, outs=outs: outs, {})
    found = proof.record("cpu").vacuous(tolerance, "fp32")
    assert [d.level for d in found] == [level] * (2 - len(others))
    assert found[0].message.startswith("atol 9, mismatch 0.001 is no bound for output `y`: zeros would pass")


@given(plain, st.integers(0, 10**6), st.sampled_from(KINDS[:-1]))
def test_the_hull_has_the_tightest_element_of_all(tolerance: Tolerance, seed: int, kind: str) -> None:
    want, have = _arrays(np.random.default_rng(seed), kind, (40, 5))
    only = Tolerance(rtol=tolerance.rtol, atol=tolerance.atol)
    wide, got = want.astype(np.float64), have.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(got - wide)
        room = ((only.atol or 0) + (only.rtol or 0) * np.abs(wide))[off > 0] / off[off > 0]
    told = only.rtol is not None or only.atol is not None
    expected = float(room.min(initial=math.inf)) if told else math.inf
    assert distance(want, have, only).headroom == pytest.approx(expected, rel=1e-14)


@given(st.lists(st.tuples(st.floats(0, 1e300), st.floats(1e-300, 1e300)), min_size=1, max_size=30))
def test_a_hull_loses_nothing(points: list[tuple[float, float]]) -> None:
    found = chain(points)
    assert set(found) <= set(points)
    assert found[-1][1] == max(error for _, error in points)
    for rtol, atol in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1e-3, 1e-5)):
        least = min((atol + rtol * size) / error for size, error in found)
        assert least <= min((atol + rtol * size) / error for size, error in points) * (1 + 1e-13)


def test_many_errors_are_few_points_whatever_they_follow() -> None:
    rng = np.random.default_rng(0)
    want = rng.normal(0, 1, 200_000)
    for have in (want + rng.normal(0, 1e-4, want.size), want * (1 + 1e-4 * rng.normal(0, 1, want.size)),
                 want.astype(np.float16).astype(np.float64), want * 1.5, want * 0):  # fmt: skip
        assert len(measured(want, have).hull) < 40


def test_errors_along_a_curve_are_judged_and_not_written_down() -> None:
    want = np.linspace(0, 1, 5000)
    proof = Proof(Of(Tolerance(rtol=1)), ["y"])
    proof.add(Case("case", {}, 0), [want], lambda _: [want + 0.1 * np.sqrt(want)], {})
    record = proof.record("cpu")
    assert record.as_json() is None
    assert record.judged(Tolerance(atol=0.2), "fp32") is not None


def test_figures_of_several_inputs_are_those_of_the_worst() -> None:
    near, far = (measured(np.ones(4), np.ones(4) + error) for error in (1e-6, 1e-3))
    for tolerance in (Tolerance(relative_l2=1e-2), Tolerance(atol=1e-2), Tolerance(cosine=0.9)):
        assert merged([near, far, near]).judged(tolerance).headroom == far.judged(tolerance).headroom


@pytest.mark.parametrize("damage", [{}, {"outputs": {"y": {"figures": [{}]}}}, {"outputs": None}])
def test_what_is_no_record_is_told_from_one(damage: dict[str, object]) -> None:
    with pytest.raises((TypeError, KeyError, ValueError, AttributeError)):
        Record.from_json(damage)
