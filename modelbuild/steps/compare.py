"""How far two arrays are apart, against a tolerance: pure numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from modelbuild.steps.samples import Array
from modelbuild.steps.slices import parts
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
    beyond: int = 0  # elements that are farther off than the bound
    elements: int = 0
    idle: bool = False  # zeros would pass: the bound is of no use at the output's size

    @property
    def passed(self) -> bool:
        return self.headroom >= 1 and not self.one_sided

    def as_json(self) -> dict[str, float | None]:
        """Null where there is no number: a headroom without an error, an error relative to zero."""
        names = ("max_abs", "max_rel", "relative_l2", "cosine", "headroom")
        return {n: _json_number(getattr(self, n)) for n in names}


def distance(reference: Array, candidate: Array, tolerance: Tolerance, *, counted: bool = True) -> Distance:
    """Compare two arrays of one shape.

    Infinities of the same sign and NaNs on both sides agree. Of integers and booleans as many may
    differ as ``mismatch`` says if they are ``counted``: decided by floats. Else they must be equal.
    """
    if reference.dtype.kind != "f":
        free = tolerance == Tolerance()
        return _exact(reference, candidate, None if free else (tolerance.mismatch or 0.0) if counted else 0.0)
    ref, got = reference.astype(np.float64), candidate.astype(np.float64)
    finite = np.isfinite(ref) & np.isfinite(got)
    agreed = finite | (ref == got) | (np.isnan(ref) & np.isnan(got))
    one_sided = int(agreed.size - np.count_nonzero(agreed))
    if not finite.all():
        ref, got = np.where(finite, ref, 0.0), np.where(finite, got, 0.0)
    with np.errstate(over="ignore"):
        error = np.abs(got - ref)
    scale = np.abs(ref)
    norm, l2, other = _norm(ref, scale), _norm(error, error), _norm(got, np.abs(got))
    relative = l2 / norm if norm else (0.0 if l2 == 0 else math.inf)
    cosine = (
        float(np.vdot(ref / norm, got / other))
        if max(norm, other) > _LARGE and norm and other
        else (float(np.vdot(ref, got)) / (norm * other) if norm * other else float(norm == other))
    )
    cosine = max(-1.0, min(1.0, cosine))
    bounds: list[float] = []
    told = ""
    worst = int(np.argmax(error)) if error.size else 0
    beyond = 0
    # Of an element, what the norm's bound would allow each if all were off alike.
    level = _level(tolerance)
    if level is not None:
        share = level * norm / math.sqrt(max(ref.size, 1))
    if tolerance.relative_l2 is not None:
        bounds.append(_ratio(tolerance.relative_l2, relative))
    if tolerance.cosine is not None:
        # 1 - cosine of nearly equal vectors drowns in rounding; ||a/|a| - b/|b|||^2 / 2 does not.
        gap = 1 - cosine if cosine < 0.999 or not (norm and other) else _cosine_gap(ref / norm, got / other)
        bounds.append(_ratio(1 - tolerance.cosine, gap))
    idle = False
    if tolerance.rtol is not None or tolerance.atol is not None:
        allowed = (tolerance.atol or 0.0) + (tolerance.rtol or 0.0) * scale
        with np.errstate(divide="ignore", invalid="ignore"):
            room = np.where(error > 0, allowed / error, np.inf)
        if room.size:
            lowest = int(np.argmin(room))
            if not bounds or room.flat[lowest] < min(bounds):
                worst = lowest
            bounds.append(float(room.flat[lowest]))
            idle = level is None and norm > 0 and bool(np.all(scale <= allowed))
            beyond = int(np.count_nonzero(error > allowed))
    if level is not None and l2 > 0:
        whole = min(bounds)
        for part in parts(ref, error):
            if (ratio := _ratio(level, part.relative)) < min(bounds):
                bounds.append(ratio)
                worst, told = part.worst, f"; {part.name} alone is off by {part.relative:.3g} of its own size"
        if min(bounds) < 1 and not beyond:
            limit = share if whole < 1 else level * scale
            beyond = int(np.count_nonzero(error > limit))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rel = np.where(scale > 0, error / scale, np.where(error > 0, np.inf, 0.0))
    if one_sided:
        worst = int(np.argmin(agreed))
    return Distance(
        max_abs=float(error.max(initial=0.0)),
        max_rel=float(rel.max(initial=0.0)),
        relative_l2=relative,
        cosine=cosine,
        headroom=min(bounds, default=math.inf) if not one_sided else 0.0,
        worst=_element(reference, candidate, worst) + told if reference.size else "",
        one_sided=one_sided,
        beyond=beyond,
        elements=reference.size,
        idle=idle,
    )


def strains(reference: Array, candidate: Array, tolerance: Tolerance) -> list[float]:
    """The error per bound in units that add up over independent roundings; 1 is what is allowed.

    Squared where the bound is on an error, plain where it is on 1 - cosine, which is a square
    itself, and on a share of elements. Infinite where only one side is finite.
    """
    if reference.dtype.kind != "f":
        wrong = float(np.mean(reference != candidate)) if reference.size else 0.0
        if tolerance.mismatch:
            return [wrong / tolerance.mismatch]
        return [1 + wrong if wrong and tolerance.mismatch is not None else 0.0]
    bounds = []
    if tolerance.rtol is not None or tolerance.atol is not None:
        bounds.append(Tolerance(rtol=tolerance.rtol, atol=tolerance.atol))
    if tolerance.relative_l2 is not None:
        bounds.append(Tolerance(relative_l2=tolerance.relative_l2))
    if tolerance.cosine is not None:
        bounds.append(Tolerance(cosine=tolerance.cosine))
    found = []
    for bound in bounds:
        measured = distance(reference, candidate, bound)
        error = 1 / measured.headroom if measured.headroom else math.inf
        found.append(error if bound.cosine is not None else error**2)
    return found


_LARGE = 1e150  # a norm whose square leaves float64


def _norm(array: Array, size: Array) -> float:
    """The Euclidean norm, of what would leave float64 when squared, too."""
    with np.errstate(over="ignore"):
        norm = float(np.linalg.norm(array))
    if math.isfinite(norm) and norm > 1 / _LARGE:
        return norm
    peak = float(size.max(initial=0.0))
    if peak == 0 or math.isinf(peak):
        return peak
    return peak * float(np.linalg.norm(array / peak))


def _level(tolerance: Tolerance) -> float | None:
    """The error relative to its size that a part may have: an error e costs at most e^2 / 2 of cosine."""
    if tolerance.relative_l2 is not None:
        return tolerance.relative_l2
    return None if tolerance.cosine is None else math.sqrt(2 * (1 - tolerance.cosine))


def _cosine_gap(a: Array, b: Array) -> float:
    return float(np.sum((a - b) ** 2)) / 2


def _exact(reference: Array, candidate: Array, mismatch: float | None) -> Distance:
    """None: no bound of ours."""
    equal = reference == candidate
    if bool(np.all(equal)):
        return Distance(0.0, 0.0, 0.0, 1.0, math.inf, elements=reference.size)
    ref, got = reference.astype(np.float64), candidate.astype(np.float64)
    error = np.abs(got - ref)
    norm = float(np.linalg.norm(ref))
    beyond = int(equal.size - np.count_nonzero(equal))
    share = beyond / equal.size
    return Distance(
        max_abs=float(error.max()),
        max_rel=float(np.max(error / np.maximum(np.abs(ref), 1.0))),
        relative_l2=float(np.linalg.norm(error)) / norm if norm else math.inf,
        cosine=float(np.vdot(ref, got)) / ((norm * float(np.linalg.norm(got))) or 1.0),
        headroom=math.inf if mismatch is None else mismatch / share,
        worst=_element(reference, candidate, int(np.argmin(equal))) + f"; {share:.2%} of the elements differ",
        beyond=beyond,
        elements=reference.size,
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
        beyond=tightest.beyond,
        elements=tightest.elements,
        idle=all(d.idle for d in rows),
    )


def is_vacuous(outputs: Sequence[Array], *, inputs_vary: bool) -> bool:
    """Whether an output proves nothing: one value everywhere, or the same for every input.

    Integers and bools that are the same for every input may come from sizes alone, as they should:
    whoever asks says whether values decide them.
    """
    if not outputs:
        return False
    if not any(o.size for o in outputs):
        return True
    told = [o for o in outputs if o.size]
    first = told[0].flat[0]
    # NaN agrees with NaN in `distance`, so a file that computes nothing else would pass.
    if all(bool(np.all((o == first) if first == first else np.isnan(o))) for o in told) and (
        sum(o.size for o in told) > 1 and (inputs_vary or told[0].size > 1)
    ):
        return True
    same_shape = [o for o in told[1:] if o.shape == told[0].shape]
    return inputs_vary and bool(same_shape) and all(_same(o, told[0]) for o in same_shape)


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _element(reference: Array, candidate: Array, flat: int) -> str:
    index = [int(i) for i in np.unravel_index(flat, reference.shape)]
    return f"element {index}: {candidate.flat[flat]:.6g}, PyTorch {reference.flat[flat]:.6g}"


def _ratio(allowed: float, error: float) -> float:
    return allowed / error if error > 0 else math.inf


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
