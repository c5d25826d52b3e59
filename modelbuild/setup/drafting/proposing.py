"""From a model to a draft of its recipe: read, tried, or guessed where it cannot be tried.

Runs in a child: it imports and calls what the user named.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from modelbuild.base.errors import ModelbuildError
from modelbuild.setup.drafting import exporting, live, onnx_file, text
from modelbuild.setup.drafting.asked import Asked
from modelbuild.setup.drafting.axes import SPATIAL, free
from modelbuild.setup.drafting.inputs import candidates, guess, optional
from modelbuild.setup.drafting.ranges import Ranges, is_batch, usual
from modelbuild.setup.drafting.signature import Subject, read
from modelbuild.setup.drafting.text import Draft
from modelbuild.setup.drafting.trying import Attempt, OutOfTime, filled, search
from modelbuild.setup.drafting.values import DraftInput, Findings, GuessedRange, base
from modelbuild.steps.model import import_attribute
from modelbuild.wording.phrases import listed

_MANY = 4  # inputs at most for forward(*tensors)
DRAWS = "check: forward() draws random numbers; a build refuses such a model"
_GRACE = 1.5  # times the patience: a single run that does not end is killed then


def for_import(model: str, asked: Asked, patience: float | None, said: str | None, exports: float) -> Draft:
    """A draft for an importable model. Without ``patience`` it is not tried, ``said`` is why; ``exports``
    times as long its export is tried.

    Raises:
        StepError: ``import-failed``, also where the arguments that are asked for make no model;
            ``inputs-mismatch`` where forward() takes no tensor, or none of a name that is asked for.
    """
    subject = read(model, import_attribute(model, asked.base), asked)
    names, others = guess(model, subject, asked.inputs)
    findings = None
    if not subject.call.complete:
        said = "the model was not tried, as what is under `kwargs` must be filled in first"
    elif patience is not None:
        findings, said = _tried(model, subject, names, others, asked, patience, exports * patience)
    if findings is None:
        findings = _untried(subject, names, asked, said)
    built = {i.name for i in findings.inputs}
    left = [n for n in others if n not in built]
    notes = (*(f"check: {n}" for n in subject.notes), *findings.notes, *_left_out(left))
    offered = [_fixed(i) for i in (optional(n, subject) for n in left) if i is not None]
    return text.of_import(model, asked.options, subject.call.kwargs, replace(findings, notes=notes), offered)


def for_onnx(path: Path, name: str, patience: float | None, said: str | None = None) -> Draft:
    """A draft for an ONNX file, which the recipe calls ``name``.

    Raises:
        RecipeError, StepError: as ``onnx_file.read``; it does not load.
    """
    found = onnx_file.read(path)
    findings = None
    if patience is not None:
        run = onnx_file.runner(path)
        _kill_after(patience)
        trial = Attempt(run, patience)
        findings = _found(trial, [found.inputs, *_at_other_sizes(found.inputs)], usual)
        said = trial.said or "it takes too long"
    if findings is None:
        inputs, axes = found.inputs, _usual(found.inputs, usual)
        findings = Findings(inputs, axes, notes=(f"check: these sizes are guesses: {said}",))
    outputs = found.outputs
    notes = (*found.notes, *findings.notes)
    return text.of_onnx(name, replace(findings, outputs=outputs, notes=notes), found.opset)


def _tried(
    model: str,
    subject: Subject,
    names: Sequence[str],
    others: Sequence[str],
    asked: Asked,
    patience: float,
    export: float,
) -> tuple[Findings | None, str]:
    """What was found by running the model, and by its export for as many seconds, or what it said.

    Raises:
        StepError: ``import-failed``: what its owner says makes no model.
    """
    try:
        made = live.make(model, subject, asked)
    except ModelbuildError as error:
        if asked.args or asked.kwargs or asked.weights:
            raise
        return None, f"the model was not tried: {error.diagnostics[0].message}"
    subject = replace(subject, module=made.module)
    _kill_after(patience)
    trial = Attempt(made.runner(names), patience, reach=lambda: made.calls)
    drawing: Findings | None = None  # what runs, and no build takes, as it is of random numbers
    for given in _sets(subject, names, others):
        trial = replace(trial, run=made.runner(given))  # the same patience for all of them
        guesses = [candidates(n, subject, i, len(given), asked) for i, n in enumerate(given)]
        try:
            inputs = search(trial, guesses)
        except OutOfTime:
            break
        if inputs is None:
            continue
        found = _found(trial, [inputs], _wanted(subject, inputs, asked), made)
        if found is not None and DRAWS not in found.notes:
            return _exportable(made, found, export), ""
        drawing = drawing or found  # an input that may be left out may stand for them, as ``noise`` does
    if drawing is not None:
        return drawing, ""
    return None, f"forward() fails with them: {trial.said}" if trial.said else "it takes too long"


def _exportable(made: live.LoadedModel, found: Findings, seconds: float) -> Findings:
    """What of it a build can export; where a build refuses the model anyway, that is all there is to say."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    if not seconds or any(note.startswith("check:") for note in found.notes):
        return found
    return exporting.settle(made, found, seconds)


def _found(
    trial: Attempt,
    guesses: Iterable[tuple[DraftInput, ...]],
    wanted: Ranges,
    made: live.LoadedModel | None = None,
) -> Findings | None:
    """The first of these inputs that run, with their axes; None if none does."""
    for inputs in guesses:
        sizes = base(inputs)
        try:
            outputs = None if sizes is None else trial.outputs(inputs, sizes)
        except OutOfTime:
            return None
        if outputs is None or sizes is None:
            continue
        pooled = sorted(made.pools) if made is not None else []
        pictured = any(a in SPATIAL for a in sizes)
        freed = free(trial, inputs, wanted, SPATIAL if pooled else ())
        notes = list(freed.notes)
        if pooled and pictured:
            notes.append(f"height and width are fixed: {pooled[0]} cannot be exported with free sizes")
        if made is not None:
            arrays = filled(inputs, sizes)
            changed = not trial.repeats(arrays, outputs)
            if changed and pictured and not pooled:
                made.renew()
                freed = free(trial, inputs, wanted, SPATIAL)
                left = "height and width are fixed: run at others, the model is another one afterwards"
                notes = [*freed.notes, left]
                changed = not trial.repeats(arrays, outputs)
            if changed:
                notes.append("check: calling the model changes it; a build refuses such a model")
            elif made.draws([i.name for i in inputs], arrays):
                notes.append(DRAWS)
        labels = _names([label for label, _ in outputs], {i.name for i in inputs})
        return Findings(freed.inputs, freed.axes, labels, tuple(notes), tried=True)
    return None


def _untried(subject: Subject, names: Sequence[str], asked: Asked, said: str | None) -> Findings:
    """What is asked for and the likeliest guesses, and why they are no more than that."""
    inputs = tuple(_fixed(candidates(n, subject, i, len(names), asked)[0]) for i, n in enumerate(names))
    what = "are as asked for" if all(i.settled for i in inputs) else "are guesses"
    note = f"check: the inputs below {what}: {said}"
    return Findings(inputs, _usual(inputs, _wanted(subject, inputs, asked)), notes=(note,))


def _left_out(names: Sequence[str]) -> list[str]:
    """That forward() takes more than the draft has."""
    return [f"left out, as forward() does without: {listed(names)}"] if names else []


def _sets(subject: Subject, names: Sequence[str], others: Sequence[str]) -> Iterable[list[str]]:
    """Names to try together: what forward() requires, and then what it may require all the same."""
    yield list(names)
    if subject.open and len(subject.forward) == 1:
        yield from ([f"{names[0]}_{i}" for i in range(n)] for n in range(2, _MANY + 1))
        return
    order = list(subject.forward)
    for count in range(1, min(len(others), _MANY - 1) + 1):
        yield sorted([*names, *others[:count]], key=order.index)


def _at_other_sizes(inputs: tuple[DraftInput, ...]) -> Iterable[tuple[DraftInput, ...]]:
    """The same inputs with their axes met at other sizes, all alike but for the batch."""
    for side in (1, 8, 32, 64, 224, 128, 256, 28, 7, 512):
        yield tuple(
            replace(i, sizes={a: n if is_batch(a) else side for a, n in i.sizes.items()}) for i in inputs
        )
    yield tuple(replace(i, sizes={a: 1 if is_batch(a) else n for a, n in i.sizes.items()}) for i in inputs)


def _wanted(subject: Subject, inputs: Sequence[DraftInput], asked: Asked) -> Ranges:
    """The ranges that are asked for; for other axes the usual ones, within what the model allows."""
    limit = subject.setting("max_position_embeddings")
    limits = {a: limit for i in inputs for a in i.axes if a.endswith("sequence") and limit}
    return lambda axis, size: asked.axes.get(axis) or usual(axis, size, limits.get(axis))


def _usual(inputs: tuple[DraftInput, ...], wanted: Ranges) -> dict[str, GuessedRange]:
    sizes = base(inputs) or {}
    return {a: wanted(a, n) for a, n in sizes.items()}


def _fixed(given: DraftInput) -> DraftInput:
    """An input whose height and width are numbers, if they are guesses: nobody saw another size run."""
    if given.settled:
        return given
    return replace(given, shape=tuple(given.sizes[d] if d in SPATIAL else d for d in given.shape))


def _names(labels: Sequence[str], taken: set[str]) -> tuple[str, ...]:
    """Names for outputs: where forward() names them its own, else ``out0``, ``out1``…"""
    found: list[str] = []
    for number, label in enumerate(labels):
        clean = re.sub(r"[^A-Za-z0-9_]+", "_", label).strip("_")
        name = f"out{number}" if not clean or clean.isdigit() or label == "output" else clean
        while name in taken:
            name += "_out"
        taken.add(name)
        found.append(name)
    return tuple(found)


def _kill_after(patience: float) -> None:
    """End this process when one run goes on long after patience is over, wherever it hangs."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, patience * _GRACE)
