"""A draft as its reader sees it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modelbuild.base.escaping import line
from modelbuild.base.scalars import flow, quoted
from modelbuild.base.tensors import Values
from modelbuild.setup.drafting.signature import Argument
from modelbuild.setup.drafting.values import Findings, Input

_PLAIN = re.compile(r"[A-Za-z_.][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*")


def of_import(
    model: str, arguments: Sequence[Argument], findings: Findings, optional: Sequence[Input]
) -> str:
    """A recipe for a PyTorch model; the optional inputs are comments in it."""
    source = [f"import: {model}"]
    if arguments:
        source += ["kwargs:", *(f"  {_argument(a)}" for a in arguments)]
    source.append("# weights: weights.safetensors  # a state dict; random weights without it")
    return _recipe(f"modelbuild init {model}", recipe_name(model), source, findings, optional, "opset: 18")


def of_onnx(file: str, findings: Findings, opset: int) -> str:
    """A recipe for an ONNX file, named as seen from the recipe."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", file.replace("\\", "/").rpartition("/")[2].removesuffix(".onnx"))
    name = re.sub("^[^A-Za-z0-9]+", "", name)[:100] or "model"
    kept = f"opset: {opset}  # the file's"
    command = f"modelbuild init --from-onnx {_one_line(file)}"
    return _recipe(command, name, [f"onnx: {_word(file)}"], findings, (), kept)


def _recipe(
    command: str, name: str, source: Sequence[str], findings: Findings, optional: Sequence[Input], opset: str
) -> str:
    how = "It was run at these sizes: look at what says `check`, then:" if findings.tried else (
        "Look at what says `check`, then:"
    )  # fmt: skip
    lines = [f"# Drafted by `{command}`. {how}", "#   modelbuild check RECIPE && modelbuild build RECIPE"]
    lines += [f"# {_one_line(note)}" for note in findings.notes]
    lines += [f"name: {_word(name)}", "model:", *_below(source), "inputs:"]
    lines += _below([_input(i, findings.tried) for i in findings.inputs])
    lines += _below([f"# {_input(i, False)}" for i in optional])
    if findings.outputs is None:
        lines.append("# outputs: [logits]  # names, in order; without this they keep the exporter's")
    else:
        lines.append(f"outputs: [{', '.join(map(_word, findings.outputs))}]")
    if findings.axes:
        said = "it runs at all of these; narrow them to" if findings.tried else "check:"
        lines.append(f"dynamic_axes:  # {said} the sizes that you will use")
        for axis, r in findings.axes.items():
            note = f"  # {_one_line(r.note)}" if r.note else ""
            lines.append(f"  {_word(axis)}: {{min: {r.min}, opt: {r.opt}, max: {r.max}}}{note}")
    lines += [
        opset,
        "precision:",
        "  fp32:",
        "  # fp16:  # half precision, with the nodes that need it in fp32",
    ]
    if findings.axes:
        lines += ["# static:  # variants with axes pinned", f"#   - {{{next(iter(findings.axes))}: "
                  f"{next(iter(findings.axes.values())).min}}}"]  # fmt: skip
    lines += ["# engines:", "#   - {precision: fp32, backend: tensorrt-rtx}"]
    return "\n".join(lines) + "\n"


def _below(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _argument(argument: Argument) -> str:
    if argument.value is None:
        kind = f" ({_one_line(argument.kind)})" if argument.kind else ""
        return f"{_word(argument.name)}: null  # check: required{kind}, and only you know its value"
    return f"{_word(argument.name)}: {flow(argument.value, _word)}"


def _input(given: Input, tried: bool) -> str:
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
