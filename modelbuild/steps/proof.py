"""Cases compared so far, and the verdict: what failed, where, by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from modelbuild.base.catalogue import Code
from modelbuild.base.errors import Diagnostic, about, first_line
from modelbuild.base.tensors import Sizes
from modelbuild.base.tolerance import Tolerance
from modelbuild.steps import compare, figures, reference
from modelbuild.steps.conditioning import Own, times, times_counted
from modelbuild.steps.figures import Distance, Figures, Judged, merged
from modelbuild.steps.model import import_attribute
from modelbuild.steps.origins import place
from modelbuild.steps.record import MeasuredOutput as Output
from modelbuild.steps.record import Record
from modelbuild.steps.samples import Array
from modelbuild.steps.spread import Spread
from modelbuild.wording.phrases import headroom

Run = Callable[[Mapping[str, Array]], list[Array]]


_HINTS = {
    "baked-axis": "the exporter fixed something at the traced size: look for Python loops or "
    "branches over it in forward()",
    "squeezed": "forward() drops an axis that is 1 at this size only, and the graph has one rank for all: "
    "name the axis that is always 1 (`squeeze(-1)`), begin this one at 2 (`min: 2`), or take "
    "`exporter: torchscript`, which writes both",
    "counted": "values decide how many there are, and one near a threshold falls on its other side: keep "
    "what is compared in fp32 (`node_block_list`), or take `method: auto`",
    "parity-failed": "the function gets two lists of arrays: PyTorch's and the artifact's",
}


_MARGIN = 1.5  # of what a hint allows over what was seen: a few inputs alone were looked at
_AS_MUCH = 4.0  # times PyTorch's own error: up to there nobody can do better
_ORDINARY = 2e-6  # the error relative to an output's size that float32 costs a deep network


@dataclass(frozen=True)
class Doubt:
    """An output that fails on an input on which PyTorch differs from itself."""

    how: str
    own: Distance
    times: float  # the artifact's error by that
    allowed: float | None

    @property
    def accepted(self) -> bool:
        return self.allowed is not None and self.times <= self.allowed


@dataclass(frozen=True)
class MeasuredCase:
    """One recorded case: how large it is, in bytes, and how well the artifact did on it."""

    file: str
    size: int
    headroom: float
    one_sided: bool  # something was finite on one side only


class Comparison(Protocol):
    """What a proof needs to know of the step that makes it."""

    @property
    def tolerance(self) -> Tolerance: ...
    @property
    def precision(self) -> str: ...
    @property
    def function(self) -> str | None: ...


class Proof:
    """What was measured so far."""

    def __init__(
        self,
        of: Comparison,
        names: Sequence[str],
        sized: Callable[[], Collection[str]] = tuple,
        counted: frozenset[str] | None = None,
        live: frozenset[str] | None = None,
    ) -> None:
        """``sized`` gives the outputs whose sizes values decide; it is asked where a size differs.

        ``counted`` are the outputs whose integers floats decide, ``live`` those that values of the
        inputs reach; None: all of them.
        """
        self.of = of
        self.names = names
        self._sized = sized
        self.counted = frozenset(names) if counted is None else counted
        self.live = frozenset(names) if live is None else live
        self.bounds = {name: of.tolerance.at(name, of.precision) for name in names}
        self.by_output: dict[str, list[tuple[Sizes, Distance]]] = {n: [] for n in names}
        self.files: dict[str, list[str]] = {n: [] for n in names}  # the inputs of ``by_output``
        self.figures: dict[str, dict[int, Figures]] = {n: {} for n in names}  # by the shape's number
        self.doubts: dict[tuple[str, str], Doubt] = {}  # by output and input
        self.spreads = {n: Spread() for n in names}
        self.shapes: list[dict[str, int]] = []
        self.counts: list[int] = []
        self.failures: list[Diagnostic] = []
        self.ran = False  # at one size at least
        self.failing: Mapping[str, Array] | None = None  # the first input with a wrong value
        self.measured: list[MeasuredCase] = []
        self.refused: dict[str, str] = {}  # where it does not run, and why
        # PyTorch's first outputs of each shape: at one size alone, a softmax over one element is constant.
        self.seen: dict[str, dict[tuple[int, ...], list[Array]]] = {n: {} for n in names}
        self.varied: set[str] = set()
        self.integers: set[str] = set()
        with about("verify", "function"):
            self._function = import_attribute(of.function) if of.function else None

    def add(
        self, case: reference.Case, expected: Sequence[Array], run: Run, arrays: Mapping[str, Array]
    ) -> None:
        sizes = dict(case.sizes)
        if sizes not in self.shapes:
            self.shapes.append(sizes)
            self.counts.append(0)
        number = self.shapes.index(sizes)
        self.counts[number] += 1
        at = reference.describe(sizes)
        try:
            got = run(arrays)
        except Exception as error:
            self.refused.setdefault(at, first_line(error))
            return
        self.ran = True
        if len(got) != len(expected):
            message = f"the graph has {len(got)} outputs, PyTorch {len(expected)}"
            self._fail("outputs-mismatch", message, at)
            return
        distances: list[Distance] = []
        misshapen = False
        for name, want, have in zip(self.names, expected, got, strict=True):
            self._note(name, want)
            if want.dtype.kind != "f":
                self.integers.add(name)
            if want.shape != have.shape:
                said = f"output `{name}` has shape {have.shape}, PyTorch {want.shape}, at {at}"
                if name in self._sized():
                    self._fail("parity-failed", said, name, _HINTS["counted"])
                elif _squeezed(want, have):
                    self._fail("baked-axis", f"{said}: `squeeze` drops an axis", name, _HINTS["squeezed"])
                else:
                    self._fail("baked-axis", said, name)
                misshapen = True
                continue
            if want.dtype != have.dtype:
                said = f"output `{name}` is {have.dtype}, PyTorch {want.dtype}"
                self._fail("outputs-mismatch", said, name)
                continue
            found, seen = compare.compared(want, have, self.bounds[name], counted=name in self.counted)
            known = self.figures[name]
            known[number] = merged([known[number], seen]) if number in known else seen
            self.by_output[name].append((sizes, found))
            self.files[name].append(case.file)
            self.spreads[name].add(want, have)
            distances.append(found)
            if not found.passed and self.failing is None:
                self.failing = arrays
        self.measured.append(
            MeasuredCase(
                case.file,
                sum(a.nbytes for a in (*arrays.values(), *expected)),
                0.0 if misshapen else min((d.headroom for d in distances), default=0.0),
                any(d.one_sided for d in distances),
            )
        )
        if self._function is not None:
            self._ask(expected, got, at)

    def failing_files(self) -> list[str]:
        """The inputs on which a value is too far off, those first on which it is farthest."""
        worst: dict[str, float] = {}
        for name, rows in self.by_output.items():
            for file, (_, found) in zip(self.files[name], rows, strict=True):
                if not found.passed and not found.one_sided:
                    worst[file] = min(found.headroom, worst.get(file, found.headroom))
        return sorted(worst, key=lambda file: worst[file])

    def doubt(self, owns: Mapping[str, Own]) -> None:
        """Hold what fails against PyTorch's own errors, by input; what is allowed of them passes."""
        for index, name in enumerate(self.names):
            failing = {
                at: (file, found, own)
                for at, (file, (_, found)) in enumerate(
                    zip(self.files[name], self.by_output[name], strict=True)
                )
                if not found.passed and not found.one_sided and file in owns
                if (own := owns[file].distances[index]) is not None
            }
            pooled = (
                times_counted([(f, o) for _, f, o in failing.values()]) if self.is_counted(name) else None
            )
            allowed = self.bounds[name].conditioning
            for at, (file, found, own) in failing.items():
                doubt = Doubt(owns[file].how, own, times(found, own) if pooled is None else pooled, allowed)
                self.doubts[name, file] = doubt
                if allowed is not None and doubt.accepted:
                    held = Judged("conditioning", doubt.times, allowed)
                    accepted = replace(found, headroom=allowed / doubt.times, judged=held)
                    self.by_output[name][at] = (self.by_output[name][at][0], accepted)

    def allowances(self) -> list[Diagnostic]:
        """What passes only because PyTorch is no better."""
        found = []
        for name in self.names:
            taken = [d for (n, _), d in self.doubts.items() if n == name and d.accepted]
            if taken:
                worst = max(taken, key=lambda d: d.times)
                found.append(
                    Diagnostic(
                        "ill-conditioned",
                        f"output `{name}` misses its bounds; its error is {worst.times:.2g} times that of "
                        f"PyTorch's float32 against itself {worst.how}, and `conditioning` allows "
                        f"{worst.allowed:g} times",
                        level="warning",
                    )
                )
        return found

    def _note(self, name: str, want: Array) -> None:
        """Keep a few of PyTorch's outputs until it is clear that they vary."""
        if name in self.varied:
            return
        outputs = self.seen[name].setdefault(want.shape, [])
        if len(outputs) < 4:
            outputs.append(want)
        if len(outputs) > 1 and not compare.is_vacuous(outputs, inputs_vary=True):
            self.varied.add(name)
            self.seen[name].clear()

    def _constant(self, name: str, inputs_vary: bool) -> bool:
        """Whether no shape shows another value. One number from one input says nothing either way."""
        if name in self.varied:
            return False
        seen = self.seen[name].values()
        if any(o[0].dtype.kind != "f" for o in seen) and name not in self.live:
            return False  # from sizes alone: what is the same may have to be
        if seen and not any(a.size for o in seen for a in o):
            return True
        telling = [o for o in seen if any(a.size for a in o) and (len(o) > 1 or o[0].size > 1)]
        return bool(telling) and all(compare.is_vacuous(o, inputs_vary=inputs_vary) for o in telling)

    def _ask(self, expected: Sequence[Array], got: Sequence[Array], at: str) -> None:
        name = self.of.function
        try:
            # Copies: it may sort or scale them in place, and the reference is compared with again.
            verdict = self._function([a.copy() for a in expected], [a.copy() for a in got])  # type: ignore[misc]
        except Exception as error:
            said = f"`{name}` raised {first_line(error)}{place(error)} at {at}"
            self._fail("parity-failed", said, "function")
            return
        if not isinstance(verdict, bool | np.bool_):
            message = f"`{name}` gave a `{type(verdict).__name__}`, not True or False"
            self._fail("parity-failed", message, "function")
        elif not verdict:
            self._fail("parity-failed", f"`{name}` says False at {at}", "function")

    def _fail(self, code: Code, message: str, about: str, hint: str | None = None) -> None:
        """One diagnostic per code and subject: twenty samples say the same."""
        if any(f.code == code and f.where == about for f in self.failures):
            return
        self.failures.append(Diagnostic(code, message, hint or _HINTS.get(code), about))

    def record(
        self,
        evidence: str,
        inputs_vary: bool = True,
        source: str = "PyTorch",
        diagnostics: tuple[Diagnostic, ...] = (),
    ) -> Record:
        """What was measured, to be judged by any tolerance."""
        outputs = {
            name: Output(
                tuple(self.figures[name].get(i) for i in range(len(self.shapes))),
                name in self.counted,
                self._said(name) if self._constant(name, inputs_vary) else None,
                self.spreads[name].as_json(),
            )
            for name in self.names
        }
        return Record(evidence, self.shapes, self.counts, outputs, source, diagnostics)

    @property
    def is_plain(self) -> bool:
        """Whether the figures say all: it ran everywhere, with the right shapes, and nothing is excused."""
        accepted = any(d.accepted for d in self.doubts.values())
        return bool(self.shapes) and not (self.refused or self.failures or accepted)

    def rows(self, name: str) -> list[Distance | None]:
        """What an output is off by, by shape: by its figures, but where PyTorch's own error excuses it."""
        if not any(n == name and d.accepted for (n, _), d in self.doubts.items()):
            shapes = (self.figures[name].get(i) for i in range(len(self.shapes)))
            return [f.judged(self.bounds[name], name in self.counted) if f else None for f in shapes]
        by_shape = ([d for sizes, d in self.by_output[name] if sizes == s] for s in self.shapes)
        return [figures.worst_of(found) if found else None for found in by_shape]

    def parity(self, record: Record) -> dict[str, Any]:
        """The contract's ``parity``."""
        rows = {name: self.rows(name) for name in self.names}
        return record.parity(self.of.tolerance, rows, passed=not self.errors())

    def errors(self) -> list[Diagnostic]:
        """Why this artifact may not be published; empty if it may."""
        if not self.shapes:
            return [Diagnostic("parity-failed", "no recorded input fits this artifact")]
        found = []
        if self.refused:
            places = " nor at ".join(list(self.refused)[:4])
            said = f"the graph does not run at {places}: {next(iter(self.refused.values()))}"
            code: Code = "baked-axis" if self.ran else "parity-failed"
            found.append(Diagnostic(code, said, _HINTS["baked-axis"] if self.ran else None))
        found += [Diagnostic(f.code, f.message, f.hint) for f in self.failures]
        for name, rows in self.by_output.items():
            failed = [(s, d) for s, d in rows if not d.passed]
            if failed and any(d is not None and not d.passed for d in self.rows(name)):
                found.append(self._judged(name, rows, failed))
        return found

    def _judged(
        self, name: str, rows: list[tuple[Sizes, Distance]], failed: list[tuple[Sizes, Distance]]
    ) -> Diagnostic:
        sizes, worst = min(failed, key=lambda r: r[1].headroom)
        at = reference.describe(sizes)
        if any(d.one_sided for _, d in failed):
            sizes, worst = next(r for r in failed if r[1].one_sided)
            return Diagnostic(
                "not-finite",
                f"output `{name}`: {worst.one_sided} elements are NaN or infinite on one side only, "
                f"at {reference.describe(sizes)}, {worst.worst}",
                "look for a division by a value that can be 0, or a range that the precision lacks",
            )
        where = {reference.describe(s) for s, _ in failed}
        only = ""
        if len(where) < len({reference.describe(s) for s, _ in rows}):
            only = f"; only at {' and '.join(sorted(where))}"
        bounds, far = self.bounds[name], f"{worst.beyond:,} of {worst.elements:,} elements"
        if self.is_counted(name):
            allowed = f"mismatch {bounds.mismatch or 0.0:g}" if name in self.counted else "none"
            said = f"{far} differ, against {allowed}" + (
                "" if name in self.counted else ": integers alone make them"
            )
        else:
            noise = "" if bounds.sqnr is None else f" ({figures.decibels(worst.relative_l2):.1f} dB)"
            said = (
                f"relative L2 {worst.relative_l2:.3g}{noise}, largest error {worst.max_abs:.3g}, cosine "
                f"{worst.cosine:.6f}, against {replace(bounds, mismatch=None, conditioning=None)}; "
                f"{far} are beyond it"
            )
        told = [d for (n, _), d in self.doubts.items() if n == name and not d.accepted]
        if told and all(d.times <= _AS_MUCH and self._magnifies(name, d) for d in told):
            return self._ill(name, f"output `{name}` at {at}: {said}", max(told, key=lambda d: d.times))
        farthest = max((d.times for d in told), default=0.0)
        own = told and bounds.conditioning is not None
        than = f"; {farthest:.2g} times PyTorch's own error" if own else ""
        return Diagnostic(
            "parity-failed",
            f"output `{name}` at {at}: {said} (headroom {headroom(worst.headroom)}); "
            f"{worst.worst}{only}{than}",
            "forward() branches on this size, or the tolerance is tighter than the precision"
            if only
            else None,
        )

    def _magnifies(self, name: str, doubt: Doubt) -> bool:
        """Whether PyTorch's own error is more than a tight tolerance meets in any network."""
        return self.is_counted(name) or doubt.own.relative_l2 > _ORDINARY

    def _ill(self, name: str, said: str, worst: Doubt) -> Diagnostic:
        own = worst.own
        if self.is_counted(name):
            flips = [d.own for (n, _), d in self.doubts.items() if n == name]
            itself = f"{sum(o.beyond for o in flips):,} of {sum(o.elements for o in flips):,} elements differ"
        else:
            itself = f"relative L2 {own.relative_l2:.3g}, largest error {own.max_abs:.3g}"
        allows = "" if worst.allowed is None else f"; `conditioning` allows {worst.allowed:g} times"
        return Diagnostic(
            "ill-conditioned",
            f"{said}. PyTorch's float32 differs from itself as much {worst.how}: {itself}; the file is "
            f"{worst.times:.2g} times as far off{allows}",
            f"accept it with `tolerance: {{conditioning: {_allowing(worst.times)}}}`, or compute in float64 "
            "what magnifies rounding",
        )

    def is_counted(self, name: str) -> bool:
        """Whether an output is integers or bools."""
        return name in self.integers

    def _said(self, name: str) -> str:
        seen = [a for o in self.seen[name].values() for a in o]
        if not any(a.size for a in seen):
            return "empty"
        first = next(a for a in seen if a.size)
        if first.dtype.kind != "f":
            return "the same"
        return "NaN" if np.isnan(first).all() else "the same"


def _allowing(times: float) -> int:
    """The ``conditioning`` for errors that are so many times PyTorch's own on a few inputs."""
    return math.ceil(max(_AS_MUCH, _MARGIN * times))


def _squeezed(want: Array, have: Array) -> bool:
    """Whether the two shapes differ in axes of size 1 alone, and in how many of them there are."""
    sizes = [[n for n in array.shape if n != 1] for array in (want, have)]
    return want.ndim != have.ndim and sizes[0] == sizes[1]
