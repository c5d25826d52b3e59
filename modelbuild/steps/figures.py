"""What a comparison measured of an output: numbers from which any tolerance is judged, without the arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from modelbuild.base.tolerance import Tolerance

Point = tuple[float, float]


@dataclass(frozen=True)
class Judged:
    """The bound that decides, and what was held against it: both in the measure's own unit.

    ``measure`` is the recipe's word (``relative_l2``, ``cosine``, ``mismatch``, ``conditioning``). Of
    ``rtol`` and ``atol``, which are one bound, ``value`` is the error of the tightest element and
    ``bound`` what that one is allowed.
    """

    measure: str
    value: float
    bound: float


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
    judged: Judged | None = None  # None: there is no error, or no number for it

    @property
    def passed(self) -> bool:
        return self.headroom >= 1 and not self.one_sided

    def as_json(self) -> dict[str, Any]:
        """Null where there is no number: a headroom without an error, an error relative to zero."""
        names = ("max_abs", "max_rel", "relative_l2", "cosine", "headroom")
        numbers = {n: _json_number(getattr(self, n)) for n in names}
        told = self.judged is not None and math.isfinite(self.judged.value)
        numbers["sqnr"] = _json_number(decibels(self.relative_l2))
        return {**numbers, "judged": asdict(self.judged) if self.judged is not None and told else None}


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
        judged=tightest.judged,
    )


@dataclass(frozen=True)
class Figures:
    """An output's errors, over one input or several of one shape.

    ``hull`` has the points (|reference|, |error|) that can be the tightest of all elements for some
    ``rtol`` and ``atol``: see ``hull``. Of an output that is counted, ``share`` is that of the elements
    which differ.
    """

    max_abs: float
    max_rel: float
    relative_l2: float
    cosine: float
    elements: int
    one_sided: int = 0
    gap: float = 0.0  # 1 - cosine, without what rounding would make of it
    part: float = 0.0  # the largest error relative to its size of a part that has a size of its own
    peak: float = 0.0  # the largest |reference|
    sized: bool = False  # not all of it is zero
    hull: tuple[Point, ...] = ()
    share: float | None = None  # None: it is measured and not counted

    def judged(self, tolerance: Tolerance, counted: bool = True) -> Distance:
        """How far it is by this tolerance. ``counted`` says that floats decide the integers of an output."""
        headroom, tightest = self._tightest(tolerance, counted)
        return Distance(
            self.max_abs, self.max_rel, self.relative_l2, self.cosine, headroom,
            one_sided=self.one_sided, elements=self.elements, idle=self._is_idle(tolerance), judged=tightest,
        )  # fmt: skip

    def headroom(self, tolerance: Tolerance, counted: bool = True) -> float:
        return self._tightest(tolerance, counted)[0]

    def _tightest(self, tolerance: Tolerance, counted: bool) -> tuple[float, Judged | None]:
        """The least headroom of all bounds, and which bound that is; none where nothing differs."""
        if self.one_sided:
            return 0.0, None
        if self.share is not None:
            if not self.share or tolerance == Tolerance():  # None of it: no bound of ours
                return math.inf, None
            allowed = (tolerance.mismatch or 0.0) if counted else 0.0
            return allowed / self.share, Judged("mismatch", self.share, allowed)
        found = min(self._bounds(tolerance), key=lambda held: held[0], default=None)
        return (math.inf, None) if found is None or math.isinf(found[0]) else found

    def _bounds(self, tolerance: Tolerance) -> Iterator[tuple[float, Judged]]:
        """Each bound's headroom, and what it was held against."""
        if (most := tolerance.relative_l2) is not None:
            yield _ratio(most, self.relative_l2), Judged("relative_l2", self.relative_l2, most)
        if (least := tolerance.sqnr) is not None:
            held = Judged("sqnr", decibels(self.relative_l2), least)
            yield _ratio(_amplitude(least), self.relative_l2), held
        if (least := tolerance.cosine) is not None:
            yield _ratio(1 - least, self.gap), Judged("cosine", 1 - self.gap, least)
        names = [n for n in ("rtol", "atol") if getattr(tolerance, n) is not None]
        if names and self.hull:
            size, error = min(self.hull, key=lambda point: _allowed(tolerance, point[0]) / point[1])
            allowed = _allowed(tolerance, size)
            yield allowed / error, Judged(", ".join(names), error, allowed)
        level = level_of(tolerance)
        if level is not None:
            yield _ratio(level, self.part), Judged("relative_l2 of a part", self.part, level)

    def _is_idle(self, tolerance: Tolerance) -> bool:
        """Whether zeros would pass: the largest element decides."""
        if level_of(tolerance) is not None or not self.sized:
            return False
        if tolerance.rtol is None and tolerance.atol is None:
            return False
        return self.peak <= _allowed(tolerance, self.peak)

    def as_json(self) -> dict[str, Any]:
        """Numbers that JSON has none for are words."""
        own = {f.name: _word(getattr(self, f.name)) for f in fields(self) if f.name != "hull"}
        return {**own, "hull": [list(point) for point in self.hull]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Figures:
        own: dict[str, Any] = {n: float(v) if isinstance(v, str) else v for n, v in data.items()}
        points = own.pop("hull")
        return cls(**own, hull=tuple((float(size), float(error)) for size, error in points))


def decibels(relative_l2: float) -> float:
    """The ratio of signal to noise of an error relative to its signal; infinite where there is no error."""
    return -20 * math.log10(relative_l2) if relative_l2 > 0 else math.inf


def _amplitude(sqnr: float) -> float:
    """The error relative to its signal at so many dB."""
    return float(10 ** (-sqnr / 20))


def level_of(tolerance: Tolerance) -> float | None:
    """The error relative to its size that a part may have: an error e costs at most e^2 / 2 of cosine."""
    named = [] if tolerance.relative_l2 is None else [tolerance.relative_l2]
    if tolerance.sqnr is not None:
        named.append(_amplitude(tolerance.sqnr))
    if named:
        return min(named)
    return None if tolerance.cosine is None else math.sqrt(2 * (1 - tolerance.cosine))


def merged(rows: Iterable[Figures]) -> Figures:
    """Of several inputs of one shape: what any tolerance makes of the worst of them."""
    found = list(rows)
    if len(found) == 1:
        return found[0]
    shares = [f.share for f in found if f.share is not None]
    return Figures(
        max_abs=max(f.max_abs for f in found),
        max_rel=max(f.max_rel for f in found),
        relative_l2=max(f.relative_l2 for f in found),
        cosine=min(f.cosine for f in found),
        elements=max(f.elements for f in found),
        one_sided=sum(f.one_sided for f in found),
        gap=max(f.gap for f in found),
        part=max(f.part for f in found),
        peak=max(f.peak for f in found),
        sized=all(f.sized for f in found),
        hull=chain(point for f in found for point in f.hull),
        share=max(shares) if shares else None,
    )


# A point this little above the line between two others is on it: an error of 1e-15 of the headroom.
ON_THE_LINE = 2.0**-50


def chain(points: Iterable[Point]) -> tuple[Point, ...]:
    """The upper hull of points (size, error), from the steepest as seen from the origin to the highest.

    For any ``atol`` and ``rtol`` that are not negative, the least ``(atol + rtol * size) / error`` of all
    points is that of one of these: to the left an error relative to the size decides, to the right an
    absolute one.
    """
    kept: list[Point] = []
    for size, error in sorted(points, key=lambda p: (p[0], -p[1])):
        if kept and error <= kept[-1][1]:
            continue  # it is larger, and not farther off
        while kept and not _is_above(kept[-2] if len(kept) > 1 else (0.0, 0.0), kept[-1], (size, error)):
            kept.pop()
        kept.append((size, error))
    return tuple(kept)


def _is_above(left: Point, middle: Point, right: Point) -> bool:
    """Whether ``middle`` is above the line between the others, which stand at other sizes than it does."""
    if middle[0] == left[0]:
        return True
    rise = (middle[1] - left[1]) / (middle[0] - left[0])
    return math.isinf(rise) or rise > (right[1] - middle[1]) / (right[0] - middle[0]) * (1 + ON_THE_LINE)


def _allowed(tolerance: Tolerance, size: float) -> float:
    return (tolerance.atol or 0.0) + (tolerance.rtol or 0.0) * size


def _ratio(allowed: float, error: float) -> float:
    return allowed / error if error > 0 else math.inf


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _word(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
