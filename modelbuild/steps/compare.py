"""How far two arrays are apart, against a tolerance: pure numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from modelbuild.steps.samples import Array
from modelbuild.tolerance import Tolerance


@dataclass(frozen=True)
class Distance:
    """One output's error over one or several inputs. ``headroom`` is tolerance / error, 1 passes.

    ``worst`` says which element of which input the tightest bound is about.
    """

    max_abs: float
    max_rel: float
    relative_l2: float
    cosine: float
    headroom: float
    worst: str = ""
    one_sided: int = 0  # elements that are finite on one side only

    @property
    def passed(self) -> bool:
        return self.headroom >= 1 and not self.one_sided

    def as_json(self) -> dict[str, float]:
        names = ("max_abs", "max_rel", "relative_l2", "cosine", "headroom")
        return {n: _json_number(getattr(self, n)) for n in names}


def distance(reference: Array, candidate: Array, tolerance: Tolerance) -> Distance:
    """Compare two arrays of one shape.

    Infinities of the same sign and NaNs on both sides agree. Integers and booleans must be equal;
    their headroom is infinite or 0.
    """
    if reference.dtype.kind != "f":
        return _exact(reference, candidate)
    ref, got = reference.astype(np.float64), candidate.astype(np.float64)
    finite = np.isfinite(ref) & np.isfinite(got)
    agreed = finite | (ref == got) | (np.isnan(ref) & np.isnan(got))
    one_sided = int(agreed.size - np.count_nonzero(agreed))
    if not finite.all():
        ref, got = np.where(finite, ref, 0.0), np.where(finite, got, 0.0)
    error = np.abs(got - ref)
    scale = np.abs(ref)
    norm = float(np.linalg.norm(ref))
    l2 = float(np.linalg.norm(error))
    relative = l2 / norm if norm else (0.0 if l2 == 0 else math.inf)
    other = float(np.linalg.norm(got))
    both = norm * other
    cosine = float(np.vdot(ref, got)) / both if both else float(norm == other)
    cosine = max(-1.0, min(1.0, cosine))
    bounds = []
    if tolerance.relative_l2 is not None:
        bounds.append(_ratio(tolerance.relative_l2, relative))
    if tolerance.cosine is not None:
        # 1 - cosine of nearly equal vectors drowns in rounding; ||a/|a| - b/|b|||^2 / 2 does not.
        gap = 1 - cosine if cosine < 0.999 or not norm else _cosine_gap(ref / norm, got / other)
        bounds.append(_ratio(1 - tolerance.cosine, gap))
    worst = int(np.argmax(error)) if error.size else 0
    if tolerance.rtol is not None or tolerance.atol is not None:
        allowed = (tolerance.atol or 0.0) + (tolerance.rtol or 0.0) * scale
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(error > 0, allowed / error, np.inf)
        if room.size:
            worst = int(np.argmin(room))
            bounds.append(float(room.flat[worst]))
    with np.errstate(divide="ignore", invalid="ignore"):
        rel = np.where(scale > 0, error / scale, np.where(error > 0, np.inf, 0.0))
    if one_sided:
        worst = int(np.argmin(agreed))
    return Distance(
        max_abs=float(error.max(initial=0.0)),
        max_rel=float(rel.max(initial=0.0)),
        relative_l2=relative,
        cosine=cosine,
        headroom=min(bounds, default=math.inf) if not one_sided else 0.0,
        worst=_element(reference, candidate, worst) if reference.size else "",
        one_sided=one_sided,
    )


def strains(reference: Array, candidate: Array, tolerance: Tolerance) -> list[float]:
    """The error per bound in units that add up over independent roundings; 1 is what is allowed.

    Squared where the bound is on an error, plain where it is on 1 - cosine, which is a square
    itself. Infinite where only one side is finite.
    """
    if reference.dtype.kind != "f":
        wrong = float(np.mean(reference != candidate)) if reference.size else 0.0
        return [1 + wrong if wrong else 0.0]
    named = asdict(tolerance)
    pair = {k: named.pop(k) for k in ("rtol", "atol")}
    bounds = [pair] if any(v is not None for v in pair.values()) else []
    bounds += [{name: value} for name, value in named.items() if value is not None]
    found = []
    for bound in bounds:
        measured = distance(reference, candidate, Tolerance(**bound))
        error = 1 / measured.headroom if measured.headroom else math.inf
        found.append(error if "cosine" in bound else error**2)
    return found


def _cosine_gap(a: Array, b: Array) -> float:
    return float(np.sum((a - b) ** 2)) / 2


def _exact(reference: Array, candidate: Array) -> Distance:
    equal = reference == candidate
    if bool(np.all(equal)):
        return Distance(0.0, 0.0, 0.0, 1.0, math.inf)
    ref, got = reference.astype(np.float64), candidate.astype(np.float64)
    error = np.abs(got - ref)
    norm = float(np.linalg.norm(ref))
    return Distance(
        max_abs=float(error.max()),
        max_rel=float(np.max(error / np.maximum(np.abs(ref), 1.0))),
        relative_l2=float(np.linalg.norm(error)) / norm if norm else math.inf,
        cosine=float(np.vdot(ref, got)) / ((norm * float(np.linalg.norm(got))) or 1.0),
        headroom=0.0,
        worst=_element(reference, candidate, int(np.argmin(equal)))
        + f"; {1 - float(np.mean(equal)):.2%} of the elements differ",
    )


def worst_of(distances: Iterable[Distance]) -> Distance:
    """Every number's worst, over several inputs."""
    rows = list(distances)
    tightest = min(rows, key=lambda d: d.headroom)
    return Distance(
        max_abs=max(d.max_abs for d in rows),
        max_rel=max(d.max_rel for d in rows),
        relative_l2=max(d.relative_l2 for d in rows),
        cosine=min(d.cosine for d in rows),
        headroom=tightest.headroom,
        worst=tightest.worst,
        one_sided=sum(d.one_sided for d in rows),
    )


def is_vacuous(outputs: Sequence[Array], *, inputs_vary: bool) -> bool:
    """Whether a float output proves nothing: one value everywhere, or the same for every input."""
    if not outputs or outputs[0].dtype.kind != "f" or not outputs[0].size:
        return False
    first = outputs[0].flat[0]
    # NaN agrees with NaN in `distance`, so a file that computes nothing else would pass.
    if all(bool(np.all((o == first) if first == first else np.isnan(o))) for o in outputs) and (
        sum(o.size for o in outputs) > 1 and (inputs_vary or outputs[0].size > 1)
    ):
        return True
    same_shape = [o for o in outputs[1:] if o.shape == outputs[0].shape]
    return (
        inputs_vary
        and bool(same_shape)
        and all(np.array_equal(o, outputs[0], equal_nan=True) for o in same_shape)
    )


def _element(reference: Array, candidate: Array, flat: int) -> str:
    index = [int(i) for i in np.unravel_index(flat, reference.shape)]
    return f"element {index}: {candidate.flat[flat]:.6g}, PyTorch {reference.flat[flat]:.6g}"


def _ratio(allowed: float, error: float) -> float:
    return allowed / error if error > 0 else math.inf


def _json_number(value: float) -> float:
    """JSON has no infinity: the largest float stands for it."""
    return value if math.isfinite(value) else math.copysign(1.7976931348623157e308, value)
