"""What a proof has measured, and the verdict that follows from it by any tolerance. Pure.

A proof judges by its record and by nothing else, so that the one who judges the record again, by
another tolerance, comes to the same verdict and the same figures. What it says of an artifact that fails
is not in it: for that, the arrays are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelbuild.base.errors import Diagnostic
from modelbuild.base.tensors import Sizes
from modelbuild.base.tolerance import Tolerance
from modelbuild.steps.base import Outcome
from modelbuild.steps.figures import Distance, Figures, worst_of

_WRONG = 0.1  # an error relative to an output's size that no precision excuses
_MOST = 400  # points of hulls that are written down for an output


@dataclass(frozen=True)
class MeasuredOutput:
    """An output: its figures at each shape, None where there are none."""

    figures: tuple[Figures | None, ...]
    counted: bool = True  # floats decide its integers, if it has any
    constant: str | None = None  # the value that it always has, in a word
    spread: Mapping[str, Any] | None = None

    def judged(self, bounds: Tolerance) -> list[Distance | None]:
        """By shape."""
        return [None if f is None else f.judged(bounds, self.counted) for f in self.figures]


@dataclass(frozen=True)
class Record:
    """All that a proof has to go by, of a file that ran at every size and gave the right shapes.

    ``said`` was said before the verdict, ``lost`` after it; ``ranges`` are the rows of ``lost``.
    """

    evidence: str
    shapes: Sequence[Sizes]
    counts: Sequence[int]
    outputs: Mapping[str, MeasuredOutput]
    source: str = "PyTorch"
    said: tuple[Diagnostic, ...] = ()
    lost: tuple[Diagnostic, ...] = ()
    ranges: Sequence[Mapping[str, Any]] | None = None

    def judged(self, tolerance: Tolerance, precision: str) -> Outcome | None:
        """The outcome of a proof by this tolerance; None where it has to fail, or is of other outputs."""
        if not self.outputs or not set(tolerance.outputs) <= set(self.outputs):
            return None
        rows = {n: o.judged(tolerance.at(n, precision)) for n, o in self.outputs.items()}
        if any(d is not None and not d.passed for found in rows.values() for d in found):
            return None
        empty = self.vacuous(tolerance, precision)
        if any(d.level == "error" for d in empty):
            return None
        return self.outcome(self.parity(tolerance, rows), (*self.said, *empty))

    def outcome(self, parity: Mapping[str, Any], diagnostics: Sequence[Diagnostic]) -> Outcome:
        ranges = {} if self.ranges is None else {"ranges": self.ranges}
        return Outcome((*diagnostics, *self.lost), {"parity": parity, **ranges})

    def parity(
        self, tolerance: Tolerance, rows: Mapping[str, Sequence[Distance | None]], passed: bool = True
    ) -> dict[str, Any]:
        """The contract's ``parity``, worst output first; ``rows`` has what an output is off by, by shape.

        ``errors`` has a row for each output at each shape, and ``spread`` each output's histogram.
        """
        there = {n: [d for d in found if d is not None] for n, found in rows.items()}
        worst = {n: worst_of(found) for n, found in there.items() if found}
        ranked = sorted(worst, key=lambda n: worst[n].headroom)
        return {
            "passed": passed,
            "evidence": self.evidence,
            "shapes": [dict(s) for s in self.shapes],
            "samples": max(self.counts, default=0),
            "samples_per_shape": list(self.counts),
            "tolerance": str(tolerance),
            "outputs": {n: worst[n].as_json() for n in ranked},
            "errors": [
                {"output": n, "shape": dict(shape), **d.as_json()}
                for n in ranked for shape, d in zip(self.shapes, rows[n], strict=True) if d is not None
            ],
            "spread": {n: told for n in ranked if (told := self.outputs[n].spread) is not None},
        }  # fmt: skip

    def vacuous(self, tolerance: Tolerance, precision: str) -> list[Diagnostic]:
        """Outputs whose comparison proves nothing; an error if that is all of them, or if one is wrong."""
        found: dict[str, Diagnostic] = {}
        wrong = False
        for name, output in self.outputs.items():
            bounds = tolerance.at(name, precision)
            rows = [d for d in output.judged(bounds) if d is not None]
            if output.constant is not None:
                said = f"{self.source}'s output `{name}` is {output.constant} for every input"
                hint = "load trained weights, or give inputs that reach it (`values`, `verify.data`)"
            elif rows and all(d.idle for d in rows):
                said = f"{bounds} is no bound for output `{name}`: zeros would pass, too"
                hint = "name a bound relative to its size: `relative_l2`, or `rtol` with a smaller `atol`"
                wrong = wrong or any(d.relative_l2 > _WRONG for d in rows)
            else:
                continue
            found[name] = Diagnostic("vacuous-check", f"{said}: comparing it proves nothing", hint)
        if wrong or len(found) == len(self.outputs):
            return list(found.values())
        return [replace(d, level="warning") for d in found.values()]

    def as_json(self) -> dict[str, Any] | None:
        """None where it would be too long to write down: the errors follow a smooth curve."""
        if any(sum(len(f.hull) for f in o.figures if f) > _MOST for o in self.outputs.values()):
            return None
        return {
            "evidence": self.evidence,
            "shapes": [dict(s) for s in self.shapes],
            "counts": list(self.counts),
            "source": self.source,
            "said": [d.as_json() for d in self.said],
            "lost": [d.as_json() for d in self.lost],
            "ranges": self.ranges,
            "outputs": {
                n: {**o.__dict__, "figures": [f and f.as_json() for f in o.figures]}
                for n, o in self.outputs.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Record:
        """What ``as_json`` wrote.

        Raises:
            TypeError: it is something else; or KeyError, ValueError, AttributeError.
        """
        outputs = {
            n: MeasuredOutput(**{**o, "figures": tuple(f and Figures.from_json(f) for f in o["figures"])})
            for n, o in data["outputs"].items()
        }
        said, lost = (tuple(Diagnostic.from_json(dict(d)) for d in data[part]) for part in ("said", "lost"))
        return cls(**{**data, "outputs": outputs, "said": said, "lost": lost})
