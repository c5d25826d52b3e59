"""A draft as its reader sees it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modelbuild.base.escaping import line
from modelbuild.base.scalars import flow, quoted
from modelbuild.base.tensors import Values
from modelbuild.setup.drafting.arguments import Argument
from modelbuild.setup.drafting.values import DraftInput, Findings

_PLAIN = re.compile(r"[A-Za-z_.][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*")


@dataclass(frozen=True)
class Draft:
    """What was found, and the lines of its recipe: ``head`` are comments, ``sections`` by their key.

    ``arguments`` are those that the model is made with.
    """

    findings: Findings
    head: tuple[str, ...]
    sections: Mapping[str, list[str]]
    arguments: tuple[Argument, ...] = ()

    @property
    def text(self) -> str:
        lines = [*self.head, *(line for section in self.sections.values() for line in section)]
        return "\n".join(lines) + "\n"


def of_import(
    model: str,
    options: Sequence[str],
    arguments: Sequence[Argument],
    findings: Findings,
    optional: Sequence[DraftInput],
) -> Draft:
    """A recipe for a PyTorch model, drafted with these options; the optional inputs are comments in it."""
    source = [f"import: {model}"]
    if arguments:
        source += ["kwargs:", *(f"  {_argument(a)}" for a in arguments)]
    source.append("# weights: weights.safetensors  # a state dict; random weights without it")
    command = _one_line(shlex.join(["modelbuild", "init", model, *options]))
    draft = _recipe(command, recipe_name(model), source, findings, optional, "opset: 18")
    return replace(draft, arguments=tuple(arguments))


def of_onnx(file: str, findings: Findings, opset: int) -> Draft:
    """A recipe for an ONNX file, named as seen from the recipe."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", file.replace("\\", "/").rpartition("/")[2].removesuffix(".onnx"))
    name = re.sub("^[^A-Za-z0-9]+", "", name)[:100] or "model"
    kept = f"opset: {opset}  # the file's"
    command = f"modelbuild init --from-onnx {_one_line(file)}"
    return _recipe(command, name, [f"onnx: {_word(file)}"], findings, (), kept)


def _recipe(
    command: str,
    name: str,
    source: Sequence[str],
    findings: Findings,
    optional: Sequence[DraftInput],
    opset: str,
) -> Draft:
    how = "It was run at these sizes: look at what says `check`, then:" if findings.tried else (
        "Look at what says `check`, then:"
    )  # fmt: skip
    head = [f"# Drafted by `{command}`. {how}", "#   modelbuild check RECIPE && modelbuild build RECIPE"]
    sections = {
        "name": [f"name: {_word(name)}"],
        "model": ["model:", *_below(source)],
        "inputs": [*inputs(findings), *_below([f"# {_input(i, False)}" for i in optional])],
        "outputs": outputs(findings),
        "dynamic_axes": axes(findings),
        "opset": [opset],
        "precision": [
            "precision:", "  fp32:", "  # fp16:  # half precision, with the nodes that need it in fp32"
        ],
    }  # fmt: skip
    if findings.axes:
        axis, sizes = next(iter(findings.axes.items()))
        sections["static"] = ["# static:  # variants with axes pinned", f"#   - {{{axis}: {sizes.min}}}"]
    sections["engines"] = ["# engines:", "#   - {precision: fp32, backend: tensorrt-rtx}"]
    return Draft(findings, (*head, *comments(findings.notes)), sections)


def comments(notes: Sequence[str]) -> list[str]:
    """What was noticed, a line each."""
    return [f"# {_one_line(note)}" for note in notes]


def inputs(findings: Findings) -> list[str]:
    """The section ``inputs``."""
    return ["inputs:", *_below([_input(i, findings.tried) for i in findings.inputs])]


def outputs(findings: Findings) -> list[str]:
    """The section ``outputs``; a comment where nobody knows them."""
    if findings.outputs is None:
        return ["# outputs: [logits]  # names, in order; without this they keep the exporter's"]
    return [f"outputs: [{', '.join(map(_word, findings.outputs))}]"]


def axes(findings: Findings) -> list[str]:
    """The section ``dynamic_axes``; nothing where all axes are fixed."""
    if not findings.axes:
        return []
    said = "it runs at all of these; narrow them to" if findings.tried else "check:"
    lines = [f"dynamic_axes:  # {said} the sizes that you will use"]
    for axis, r in findings.axes.items():
        note = f"  # {_one_line(r.note)}" if r.note else ""
        lines.append(f"  {_word(axis)}: {{min: {r.min}, opt: {r.opt}, max: {r.max}}}{note}")
    return lines


def _below(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _argument(argument: Argument) -> str:
    if not argument.known:
        kind = f" ({_one_line(argument.kind)})" if argument.kind else ""
        return f"{_word(argument.name)}: null  # check: required{kind}, and only you know its value"
    note = f"  # {_one_line(argument.note)}" if argument.note else ""
    return f"{_word(argument.name)}: {flow(argument.value, _word)}{note}"


def _input(given: DraftInput, tried: bool) -> str:
    parts = [f"shape: [{', '.join(flow(size, _word) for size in given.shape)}]"]
    if given.dtype != "float32":
        parts.append(f"dtype: {given.dtype}")
    if values := _values(given.values):
        parts.append(f"values: {{{values}}}")
    note = f"runs; {given.note}" if tried else f"check: {given.note}"
    return f"{_word(given.name)}: {{{', '.join(parts)}}}  # {note}"


def _values(values: Values) -> str:
    named = {n: getattr(values, n) for n in ("low", "high", "mean", "std", "constant")}
    return ", ".join(f"{n}: {v:g}" if not float(v).is_integer() else f"{n}: {int(v)}"
                     for n, v in named.items() if v is not None)  # fmt: skip


def _word(text: str) -> str:
    """A text as YAML; quoted where it would mean something else."""
    return quoted(text, _PLAIN)


def _one_line(text: str) -> str:
    """What a comment can hold: a library's words may have lines of their own."""
    return line(text, 300)


def recipe_name(model: str) -> str:
    """``my.nets:BertModel`` -> ``bert_model``; ``ViTModel`` -> ``vit_model``, ``MyMLP`` -> ``my_mlp``."""
    attribute = model.partition(":")[2].replace(".", "_")
    word = r"(?<=[a-z0-9])(?=[A-Z](?:[a-z]|[A-Z]{2}|[A-Z]$))|(?<=[A-Z])(?=[A-Z][a-z])"
    split = re.sub(word, "_", attribute)
    return re.sub("_+", "_", split).strip("_").lower()
