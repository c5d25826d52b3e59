"""A draft as its reader sees it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from modelbuild.drafting.inputs import Input
from modelbuild.drafting.signature import Subject
from modelbuild.recipe.scalars import meaning

# Sizes of every axis that a draft may use: min, opt, max.
_AXES = {
    "batch": (1, 4, 8),
    "sequence": (16, 64, 256),
    "decoder_sequence": (16, 32, 64),
    "samples": (4000, 16000, 32000),
}


@dataclass
class _Lines:
    """Lines of YAML."""

    text: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        self.text += lines

    def below(self, *lines: str) -> None:
        self.text += [f"  {line}" for line in lines]


def write(model: str, subject: Subject, wanted: Sequence[Input], optional: Sequence[Input]) -> str:
    """The recipe; the optional inputs are comments in it."""
    name = recipe_name(model)
    lines = _Lines()
    lines.add(f"# Drafted by `modelbuild init {model}`. Look at what says `check`, then:")
    lines.add("#   modelbuild check RECIPE && modelbuild build RECIPE")
    lines.add(*(f"# check: {note}" for note in subject.notes))
    lines.add(f"name: {name}", "model:")
    lines.below(f"import: {model}")
    if subject.arguments:
        lines.below("kwargs:", *(f"  {_argument(n, v)}" for n, v in subject.arguments))
    lines.below("# weights: weights.safetensors  # a state dict; random weights without it")
    lines.add("inputs:")
    lines.below(*(_input(i) for i in wanted), *(f"# {_input(i)}" for i in optional))
    lines.add("# outputs: [logits]  # names, in order; without this they keep the exporter's")
    used = [a for a in _AXES if any(a in i.shape for i in wanted)]
    lines.add("dynamic_axes:  # check: the sizes that you will use")
    lines.below(*(f"{a}: {_range(a, subject)}" for a in used))
    lines.add("opset: 18", "precision:")
    lines.below("fp32:", "fp16:")
    lines.add("# static:  # variants with axes pinned", "#   - {batch: 1}")
    lines.add("# engines:", "#   - {precision: fp16, backend: tensorrt-rtx}")
    return "\n".join(lines.text) + "\n"


def _argument(name: str, value: str | None) -> str:
    return f"{_key(name)}: {value or 'null  # check: required, and only you know its value'}"


def _input(given: Input) -> str:
    parts = [f"shape: [{', '.join(map(str, given.shape))}]"]
    if given.dtype != "float32":
        parts.append(f"dtype: {given.dtype}")
    if given.values:
        parts.append(f"values: {{{given.values}}}")
    return f"{_key(given.name)}: {{{', '.join(parts)}}}  # check: {given.note}"


def _range(axis: str, subject: Subject) -> str:
    """The sizes of an axis, within the positions that the model has."""
    limit = subject.setting("max_position_embeddings") if axis.endswith("sequence") else None
    low, opt, high = (min(size, limit or size) for size in _AXES[axis])
    return f"{{min: {low}, opt: {opt}, max: {high}}}"


def recipe_name(model: str) -> str:
    """``my.nets:BertModel`` -> ``bert_model``; ``ViTModel`` -> ``vit_model``, ``MyMLP`` -> ``my_mlp``."""
    attribute = model.partition(":")[2].replace(".", "_")
    word = r"(?<=[a-z0-9])(?=[A-Z](?:[a-z]|[A-Z]{2}|[A-Z]$))|(?<=[A-Z])(?=[A-Z][a-z])"
    split = re.sub(word, "_", attribute)
    return re.sub("_+", "_", split).strip("_").lower()


def _key(name: str) -> str:
    """A name as a YAML key; quoted where it would mean something else."""
    return name if meaning(name) == name else f'"{name}"'
