"""Whether what runs can be exported: the axes that the exporter fixes are fixed in the draft, too."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from modelbuild.base.errors import ModelbuildError, StepError, first_line
from modelbuild.base.escaping import line
from modelbuild.base.tensors import Axis, traced_sizes
from modelbuild.machine import isolate
from modelbuild.recipe.schema import DEFAULT_OPSET
from modelbuild.setup.drafting.axes import SPATIAL, pinned
from modelbuild.setup.drafting.live import LoadedModel
from modelbuild.setup.drafting.ranges import is_batch
from modelbuild.setup.drafting.values import Findings, base
from modelbuild.wording.phrases import listed

PATIENCES = 2
"""Its time, in those for trying the model: an export also compares its graph with PyTorch, and is tried again
where it fixes axes."""


@dataclass(frozen=True)
class _Failure:
    """What an export says. ``axes`` are those that it is about; it is ``late`` where there was no time."""

    said: str
    axes: tuple[str, ...] = ()
    late: bool = False


def settle(made: LoadedModel, found: Findings, seconds: float) -> Findings:
    """The findings with those axes free that a build's export keeps free, tried for as many seconds in all.

    Axes that are its owner's stay, with a note of what is wrong with them.
    """
    end = time.monotonic() + seconds
    current = found
    while (failure := _tried(made, current, _share(current) * (end - time.monotonic()))) is not None:
        axes = _to_fix(current, failure)
        if not axes:
            if failure.late:
                return _noted(current, f"whether it can be exported was not tried to its end: {failure.said}")
            why = f"check: its export fails{', also with its axes fixed' * (current is not found)}: "
            return _noted(found, why + failure.said)
        current = _fixed(current, axes, failure)
    return current


def _share(found: Findings) -> float:
    """Of the time that is left: with free sides an export takes longest, and may have to go without."""
    return 2 / 3 if any(a in SPATIAL for a in found.axes) else 1.0


def _tried(made: LoadedModel, found: Findings, seconds: float) -> _Failure | None:
    """What the step of a build says that exports this, in a process of its own; None if it does."""
    if seconds <= 0:
        return _Failure("there is no time left", late=True)
    late = f"it takes more than {seconds:.0f} s"

    def export() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with tempfile.TemporaryDirectory() as out:
            _export(made, found, Path(out))

    ended = isolate.in_child(export)
    if ended.died is not None:
        return _Failure(late if "SIGALRM" in ended.died else ended.died, late="SIGALRM" in ended.died)
    if ended.error is None:
        return None
    if isinstance(ended.error, ModelbuildError):
        data = ended.error.data if isinstance(ended.error, StepError) else {}
        return _Failure(line(ended.error.diagnostics[0].message, 160), tuple(data.get("axes", ())))
    return _Failure(first_line(ended.error, 160))


def _export(made: LoadedModel, found: Findings, out: Path) -> None:
    """As ``plan`` has a recipe export that says what was found."""
    from modelbuild.steps.export import Export

    live = made.make()  # another one: the trials may have left something in the old
    free = [Axis(name, r.min, r.opt, r.max) for name, r in found.axes.items()]
    numbers = {d for i in found.inputs for d in i.shape if isinstance(d, int)}
    step = Export(
        source=live.source, inputs=tuple(i.spec for i in found.inputs), outputs=found.outputs,
        traced=traced_sizes(free, numbers), ranges={a.name: (a.min, a.max) for a in free},
        opset=DEFAULT_OPSET, exporter="auto", constant_folding=True,
    )  # fmt: skip
    step.run_beside(live, {}, out)


def _to_fix(found: Findings, failure: _Failure) -> list[str]:
    """The axes to fix next: those that it is about; or else sides, then all but the batch, then all."""
    settled = {a for i in found.inputs if i.settled for a in i.axes}
    free = [a for a, r in found.axes.items() if not r.settled and a not in settled]
    named = [a for a in free if a in failure.axes]
    sides = [a for a in free if a in SPATIAL]
    if named:
        return sides if set(named) & set(sides) else named
    if failure.late:
        return sides
    return sides or [a for a in free if not is_batch(a)] or free


def _fixed(found: Findings, axes: Collection[str], failure: _Failure) -> Findings:
    sizes = base(found.inputs) or {}
    at = {a: found.axes[a].min if is_batch(a) else sizes[a] for a in axes}
    left = {a: r for a, r in found.axes.items() if a not in axes}
    why = "to export it with other sizes" if failure.late else "exported with other sizes"
    note = f"{listed(axes)} fixed: {why}, {failure.said}"
    return _noted(replace(found, inputs=pinned(found.inputs, at), axes=left), note)


def _noted(found: Findings, note: str) -> Findings:
    return replace(found, notes=(*found.notes, note))
