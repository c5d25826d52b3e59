"""How far two arrays are apart, against a tolerance: pure numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from modelbuild.base.tolerance import Tolerance
from modelbuild.steps.figures import ON_THE_LINE, Distance, Figures, Point, chain, level_of
from modelbuild.steps.samples import Array
from modelbuild.steps.slices import parts


def measured(reference: Array, candidate: Array) -> Figures:
    """Compare two arrays of one shape.

    Infinities of the same sign and NaNs on both sides agree.
    """
    if reference.dtype.kind != "f":
        return _counted(reference, candidate)
    return _Compared(reference, candidate).figures()


def distance(reference: Array, candidate: Array, tolerance: Tolerance, *, counted: bool = True) -> Distance:
    """How far two arrays of one shape are apart, by a tolerance; where that is too far, at which element.

    Of integers and booleans as many may differ as ``mismatch`` says if they are ``counted``: decided by
    floats. Else they must be equal.
    """
    return compared(reference, candidate, tolerance, counted=counted)[0]


def compared(
    reference: Array, candidate: Array, tolerance: Tolerance, *, counted: bool = True
) -> tuple[Distance, Figures]:
    """As ``distance``, with the figures that it was judged by."""
    if reference.dtype.kind != "f":
        figures = _counted(reference, candidate)
        found = figures.judged(tolerance, counted)
        if not figures.share:
            return found, figures
        first = int(np.argmin(reference == candidate))
        told = f"{_element(reference, candidate, first)}; {figures.share:.2%} of the elements differ"
        beyond = int(np.count_nonzero(reference != candidate))
        return replace(found, worst=told, beyond=beyond), figures
    arrays = _Compared(reference, candidate)
    figures = arrays.figures()
    found = figures.judged(tolerance)
    return (found if found.passed else arrays.explained(found, figures, tolerance)), figures


class _Compared:
    """Two arrays of floats in float64, with what is not finite on either side taken out."""

    def __init__(self, reference: Array, candidate: Array) -> None:
        self.reference, self.candidate = reference, candidate
        ref, got = reference.astype(np.float64), candidate.astype(np.float64)
        finite = np.isfinite(ref) & np.isfinite(got)
        self.agreed = finite | (ref == got) | (np.isnan(ref) & np.isnan(got))
        if not finite.all():
            ref, got = np.where(finite, ref, 0.0), np.where(finite, got, 0.0)
        with np.errstate(over="ignore"):
            self.error = np.abs(got - ref)
        self.ref, self.got, self.scale = ref, got, np.abs(ref)
        self.norm, self.l2 = _norm(ref, self.scale), _norm(self.error, self.error)
        self.parts = tuple(parts(ref, self.error)) if self.l2 > 0 else ()

    def figures(self) -> Figures:
        ref, got, norm = self.ref, self.got, self.norm
        other = _norm(got, np.abs(got))
        cosine = (
            float(np.vdot(ref / norm, got / other))
            if norm and other and not (1 / _LARGE < norm < _LARGE and 1 / _LARGE < other < _LARGE)
            else (float(np.vdot(ref, got)) / (norm * other) if norm and other else float(norm == other))
        )
        cosine = max(-1.0, min(1.0, cosine))
        # 1 - cosine of nearly equal vectors drowns in rounding; ||a/|a| - b/|b|||^2 / 2 does not.
        gap = 1 - cosine if cosine < 0.999 or not (norm and other) else _cosine_gap(ref / norm, got / other)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            rel = np.where(self.scale > 0, self.error / self.scale, np.where(self.error > 0, np.inf, 0.0))
        return Figures(
            max_abs=float(self.error.max(initial=0.0)),
            max_rel=float(rel.max(initial=0.0)),
            relative_l2=self.l2 / norm if norm else (0.0 if self.l2 == 0 else math.inf),
            cosine=cosine,
            elements=ref.size,
            one_sided=int(ref.size - np.count_nonzero(self.agreed)),
            gap=gap,
            part=max((p.relative for p in self.parts), default=0.0),
            peak=float(self.scale.max(initial=0.0)),
            sized=norm > 0,
            hull=_hull(self.scale, self.error),
        )

    def explained(self, found: Distance, figures: Figures, tolerance: Tolerance) -> Distance:
        """With the element that the tightest bound is about, and how many are beyond it."""
        worst, told, beyond = int(np.argmax(self.error)), "", 0
        # Of an element, what the norm's bound would allow each if all were off alike.
        level = level_of(tolerance)
        if tolerance.rtol is not None or tolerance.atol is not None:
            allowed = (tolerance.atol or 0.0) + (tolerance.rtol or 0.0) * self.scale
            with np.errstate(divide="ignore", invalid="ignore"):
                room = np.where(self.error > 0, allowed / self.error, np.inf)
            lowest = int(np.argmin(room))
            if _is_near(float(room.flat[lowest]), found.headroom):
                worst = lowest
            beyond = int(np.count_nonzero(self.error > allowed))
        if level is not None and self.l2 > 0:
            ofpart = [p for p in self.parts if _is_near(_ratio(level, p.relative), found.headroom)]
            if ofpart:
                worst = ofpart[0].worst
                told = f"; {ofpart[0].name} alone is off by {ofpart[0].relative:.3g} of its own size"
            if not beyond:
                whole = replace(figures, part=0.0).headroom(tolerance)
                share = self.norm / math.sqrt(self.ref.size)
                limit = level * (share if whole < 1 else self.scale)
                beyond = int(np.count_nonzero(self.error > limit))
        if found.one_sided:
            worst = int(np.argmin(self.agreed))
        return replace(found, worst=_element(self.reference, self.candidate, worst) + told, beyond=beyond)


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
    if tolerance.sqnr is not None:
        bounds.append(Tolerance(sqnr=tolerance.sqnr))
    if tolerance.cosine is not None:
        bounds.append(Tolerance(cosine=tolerance.cosine))
    figures, found = measured(reference, candidate), []
    for bound in bounds:
        headroom = figures.headroom(bound)
        error = 1 / headroom if headroom else math.inf
        found.append(error if bound.cosine is not None else error**2)
    return found


_LARGE = 1e150  # a norm whose square leaves float64, as does that of its inverse


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


def _cosine_gap(a: Array, b: Array) -> float:
    return float(np.sum((a - b) ** 2)) / 2


def _counted(reference: Array, candidate: Array) -> Figures:
    equal = reference == candidate
    if bool(np.all(equal)):
        return Figures(0.0, 0.0, 0.0, 1.0, reference.size, share=0.0)
    ref, got = reference.astype(np.float64), candidate.astype(np.float64)
    error = np.abs(got - ref)
    norm = float(np.linalg.norm(ref))
    return Figures(
        max_abs=float(error.max()),
        max_rel=float(np.max(error / np.maximum(np.abs(ref), 1.0))),
        relative_l2=float(np.linalg.norm(error)) / norm if norm else math.inf,
        cosine=float(np.vdot(ref, got)) / ((norm * float(np.linalg.norm(got))) or 1.0),
        elements=reference.size,
        share=int(equal.size - np.count_nonzero(equal)) / equal.size,
    )


def _hull(scale: Array, error: Array) -> tuple[Point, ...]:
    """The ``chain`` of all elements: those that one line leaves out, nearly all, are never sorted."""
    some = error > 0
    size, off = scale[some], error[some]
    if not off.size:
        return ()
    highest = off == off.max()
    last = float(size[highest].min()), float(off.max())
    with np.errstate(over="ignore"):
        flat = size / off
    steep = flat == flat.min()
    first = float(size[steep][np.argmax(off[steep])]), float(off[steep].max())
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rise = (off - first[1]) / (size - first[0])
        line = (last[1] - first[1]) / (last[0] - first[0]) if last[0] > first[0] else math.inf
        above = (size > first[0]) & (size < last[0]) & ~(rise <= line * (1 + ON_THE_LINE))
    return chain([first, last, *zip(size[above].tolist(), off[above].tolist(), strict=True)])


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


def _is_near(value: float, other: float) -> bool:
    """Whether these are one number, but for the rounding of two ways to it."""
    return abs(value - other) <= 1e-9 * abs(other)
