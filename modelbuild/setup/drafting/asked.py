"""What its owner says of a model: arguments, inputs, ranges. No guess replaces any of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.tensors import DTYPES, Values
from modelbuild.recipe.excerpts import diagnostics
from modelbuild.recipe.problems import INVALID, clean
from modelbuild.recipe.reading import read
from modelbuild.recipe.words import AXIS, LARGEST, TENSOR
from modelbuild.setup.drafting.values import GuessedRange
from modelbuild.steps.checkpoints import Weights
from modelbuild.wording.phrases import did_you_mean, listed

_FORM = "write NAME:SHAPE or NAME:SHAPE:DTYPE, as in `x:batchx3x224x224` or `ids:batchx128:int64`"


@dataclass(frozen=True)
class AskedInput:
    """An input of a settled shape; ``dtype`` and ``values`` are found where they are None."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str | None = None
    values: Values | None = None


@dataclass(frozen=True)
class Asked:
    """All of it, and the ``options`` that said it. ``weights``, ``files`` and ``seed`` are as in a recipe's
    ``model``, whose paths are relative to ``base``."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights | None = None
    files: tuple[str, ...] = ()
    seed: int = 0
    base: Path = Path()
    inputs: Mapping[str, AskedInput] = field(default_factory=dict)
    axes: Mapping[str, GuessedRange] = field(default_factory=dict)
    options: tuple[str, ...] = ()


NOTHING = Asked()


def of_options(kwargs: str | None, inputs: Sequence[str]) -> Asked:
    """What ``--kwargs`` and ``--input`` say.

    Raises:
        RecipeError: as ``kwargs_of`` and ``inputs_of``.
    """
    options = ("--kwargs", kwargs) if kwargs is not None else ()
    found = kwargs_of(kwargs) if kwargs is not None else {}
    every = (*options, *(word for text in inputs for word in ("--input", text)))
    return Asked(kwargs=found, inputs=inputs_of(inputs), options=every)


def inputs_of(texts: Sequence[str]) -> dict[str, AskedInput]:
    """The inputs of ``--input``, in order.

    Raises:
        RecipeError: one is not NAME:SHAPE[:DTYPE], or a name is given twice.
    """
    found: dict[str, AskedInput] = {}
    for text in texts:
        given = _input(text)
        if given.name in found:
            raise _refused(f"--input names `{clean(given.name)}` twice", "give each input once")
        found[given.name] = given
    return found


def kwargs_of(text: str) -> dict[str, Any]:
    """The mapping of ``--kwargs``, in YAML or JSON.

    Raises:
        RecipeError: it is none, with the place of each mistake in it.
    """
    document = read(text)
    if document.problems:
        raise RecipeError(diagnostics(document, document.problems, "--kwargs"))
    data = document.root.data if document.root is not None else None
    if not isinstance(data, dict):
        hint = "write `{depth: 18}`, or `{config: {import: package.module:Config, kwargs: {depth: 18}}}`"
        raise _refused(f"--kwargs `{clean(text)}` is not a mapping of names to values", hint)
    return data


def _input(text: str) -> AskedInput:
    head, colon, last = text.rpartition(":")
    dtype = None
    if colon and re.fullmatch("[a-z]+[0-9]*", last) and ":" in head:  # a third part, or `x:0` and an axis
        dtype, (head, colon, last) = last, head.rpartition(":")
        if dtype not in DTYPES:
            wrong = f"--input `{clean(text)}`: `{clean(dtype)}` is no dtype"
            raise _refused(wrong, did_you_mean(dtype, DTYPES, f"one of {', '.join(DTYPES)}"))
    if not colon or not re.fullmatch(TENSOR, head):
        raise _refused(f"--input `{clean(text)}` has no name and shape", _FORM)
    return AskedInput(head, _shape(text, last), dtype)


def _shape(text: str, shape: str) -> tuple[int | str, ...]:
    """``1x3x224x224``, ``[batch, 3, 224, 224]``; nothing and ``[]`` are a scalar's."""
    inner = shape.strip().removeprefix("[").removesuffix("]").strip()
    if not inner:
        return ()
    parts = [p.strip() for p in inner.split("," if "," in inner or "[" in shape else "x")]
    return tuple(_dimension(text, part) for part in parts)


def _dimension(text: str, part: str) -> int | str:
    if re.fullmatch("[0-9]{1,10}", part) and int(part) <= LARGEST:
        return int(part)
    if re.fullmatch(AXIS, part):
        return part
    if part in ("-1", "?"):
        hint = "a dynamic axis has a name here: `x:batchx3x224x224`"
        raise _refused(f"--input `{clean(text)}`: `{part}` says no size and no name", hint)
    wrong = f"--input `{clean(text)}`: {listed([clean(part)])} is no size and no name of an axis"
    raise _refused(wrong, _FORM)


def _refused(message: str, hint: str) -> RecipeError:
    return RecipeError(Diagnostic(INVALID, message, hint))
