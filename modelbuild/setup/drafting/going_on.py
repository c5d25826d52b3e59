"""A recipe to go on from: what it says stays, to the letter where it can; what it lacks is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.scalars import flow
from modelbuild.base.tensors import Values
from modelbuild.recipe.excerpts import diagnostics
from modelbuild.recipe.loading import source
from modelbuild.recipe.problems import INVALID
from modelbuild.recipe.reading import Document, read
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.inputs import InputSpec, InputValues
from modelbuild.recipe.wording import worded
from modelbuild.setup.drafting import text
from modelbuild.setup.drafting.asked import Asked, AskedInput
from modelbuild.setup.drafting.text import Draft
from modelbuild.setup.drafting.values import DraftInput, Findings, GuessedRange
from modelbuild.steps.checkpoints import Weights


def known(path: Path) -> tuple[Document, str, Asked]:
    """The recipe as it was read, the model that it names, and what it says of it.

    Raises:
        RecipeError: it cannot be read, what it says is wrong, or its model is not Python's.
    """
    document = read(source(path))
    if document.root is None or document.problems:
        raise RecipeError(diagnostics(document, document.problems, str(path)))
    data = document.root.data
    if not isinstance(data, dict) or "model" not in data:
        raise _refused(
            path, "it has no `model`, which is what there is to go on from", "it begins with `model:`"
        )
    lines = [mark.line for mark in document.root.keys.values()]
    if document.lines[lines[0]].lstrip().startswith("{"):
        raise _refused(path, "it stands in braces", "give each of its keys a line")
    try:
        stand_ins = {"name": "unnamed", "inputs": {"x": {"shape": []}}}
        found = Recipe.model_validate({**stand_ins, **data})
    except ValidationError as error:
        problems = [worded(e, data) for e in error.errors(include_url=False)[:50]]
        raise RecipeError(diagnostics(document, problems, str(path))) from error
    model = found.model
    if model.import_ is None:
        raise _refused(path, "its model is an ONNX file", "`modelbuild init --from-onnx FILE` drafts one")
    inputs = {n: _asked(n, s) for n, s in found.inputs.items()} if "inputs" in data else {}
    axes = {n: GuessedRange(r.min, r.opt, r.max, settled=True) for n, r in found.dynamic_axes.items()}
    weights = Weights(**model.weights.model_dump()) if model.weights else None
    said = Asked(model.args, model.kwargs, weights, model.files, model.seed, path.parent, inputs, axes)
    return document, model.import_, said


def completed(document: Document, draft: Draft) -> str:
    """The recipe's text with what was found for it: sections that it lacks behind the others, those that
    say less or another thing than what runs in their place, and notes of it all above the first."""
    assert document.root is not None
    found, data = draft.findings, document.root.data
    sections = _model(data["model"], draft)
    notes = list(found.notes)
    for key, same in (("inputs", _same_inputs), ("outputs", _same_outputs), ("dynamic_axes", _same_axes)):
        lines = [line for line in draft.sections[key] if not line.startswith("#")]
        if not data.get(key):
            sections |= {key: lines} if lines or key in data else {}
        elif found.tried and not same(data[key], found):
            sections[key] = lines
            notes.append(f"`{key}` is not as it was: it lacked something, or does not run")
    return "\n".join(_spliced(document, sections, text.comments(notes))) + "\n"


def _model(data: Mapping[str, Any], draft: Draft) -> dict[str, list[str]]:
    """The section ``model``, where it lacks an argument."""
    if {a.name for a in draft.arguments} <= (data.get("kwargs") or {}).keys():
        return {}
    lines = [line for line in draft.sections["model"] if not line.lstrip().startswith("#")]
    others = {key: value for key, value in data.items() if key not in ("import", "kwargs")}
    return {"model": [*lines, *(f"  {key}: {flow(value)}" for key, value in others.items())]}


def _spliced(document: Document, sections: Mapping[str, list[str]], notes: Sequence[str]) -> list[str]:
    """The lines of a recipe, with these sections in the place of its own or at its end."""
    assert document.root is not None
    lines = list(document.lines)
    while lines and not lines[-1].strip():
        lines.pop()
    begins = [(mark.line, str(key)) for key, mark in document.root.keys.items()]
    ends = [*(line for line, _ in begins[1:]), len(lines)]
    for (begin, key), end in reversed(list(zip(begins, ends, strict=True))):
        if key not in sections:
            continue
        while end > begin + 1 and _is_between(lines[end - 1]):
            end -= 1
        lines[begin:end] = sections[key]
    lines[begins[0][0] : begins[0][0]] = notes
    here = {key for _, key in begins}
    return [*lines, *(line for key, new in sections.items() if key not in here for line in new)]


def _is_between(line: str) -> bool:
    """Whether it belongs to no section, or to the one that follows."""
    return not line.strip() or line.startswith("#")


def _asked(name: str, spec: InputSpec) -> AskedInput:
    dtype = spec.dtype if "dtype" in spec.model_fields_set else None
    return AskedInput(name, spec.shape, dtype, Values(**spec.values.model_dump()) if spec.values else None)


def _same_inputs(data: Mapping[str, Any], found: Findings) -> bool:
    return list(data) == [i.name for i in found.inputs] and all(
        _same_input(InputSpec.model_validate(data[i.name]), i) for i in found.inputs
    )


def _same_input(spec: InputSpec, found: DraftInput) -> bool:
    values = spec.values or InputValues()
    return (spec.shape, spec.dtype, Values(**values.model_dump())) == (found.shape, found.dtype, found.values)


def _same_outputs(data: Sequence[str], found: Findings) -> bool:
    """The names are the recipe's; how many there are is the model's."""
    return found.outputs is None or len(found.outputs) == len(data)


def _same_axes(data: Mapping[str, Any], found: Findings) -> bool:
    return data.keys() == found.axes.keys() and all(
        (r.min, r.opt, r.max) == tuple(data[axis][k] for k in ("min", "opt", "max"))
        for axis, r in found.axes.items()
    )


def _refused(path: Path, message: str, hint: str) -> RecipeError:
    return RecipeError(Diagnostic(INVALID, message, hint, str(path)))
