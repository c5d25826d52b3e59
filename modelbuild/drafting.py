"""A first recipe from a model's signature: ``modelbuild init``.

It imports the model, as its owner asks, and reads the parameters of ``forward()``. What a
signature does not say (shapes, ranges) is guessed from names, from the default config, or from the
first layer, and every guess carries a comment that says so.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.errors import Diagnostic, RecipeError, StepError, first_line
from modelbuild.recipe.scalars import meaning
from modelbuild.recipe.words import IMPORT
from modelbuild.steps.model import import_attribute, resolve

if TYPE_CHECKING:
    import torch

FROM_NAME = "guessed from the name"
FROM_CONFIG = "from the default config"
FROM_LAYER = "guessed from the first layer"
NO_CLUE = "nothing in the signature says what this is"

_IMAGES = ("pixel_values", "image", "images", "img", "imgs", "frame", "frames", "picture")
_TOKENS = ("input_ids", "decoder_input_ids", "tokens", "token_ids", "ids")
_MASKS = ("attention_mask", "decoder_attention_mask", "padding_mask")
_ANYTHING = ("x", "input", "inputs", "data", "sample", "features")  # often an image, but who knows
_SCALARS = (bool, int, float, str, "bool", "int", "float", "str")

# Sizes of every axis that a draft may use: min, opt, max.
_AXES = {
    "batch": (1, 4, 8),
    "sequence": (16, 64, 256),
    "decoder_sequence": (16, 32, 64),
    "samples": (4000, 16000, 32000),
}


@dataclass(frozen=True)
class Input:
    """A line under ``inputs``. ``note`` says what the shape rests on."""

    name: str
    shape: tuple[int | str, ...]
    note: str
    dtype: str = "float32"
    values: str = ""

    def line(self) -> str:
        parts = [f"shape: [{', '.join(map(str, self.shape))}]"]
        if self.dtype != "float32":
            parts.append(f"dtype: {self.dtype}")
        if self.values:
            parts.append(f"values: {{{self.values}}}")
        return f"{_key(self.name)}: {{{', '.join(parts)}}}  # check: {self.note}"


@dataclass(frozen=True)
class Subject:
    """What can be known of a model without running it.

    ``arguments`` are lines of YAML under ``kwargs``; ``config`` is its default config object, and
    ``module`` the model itself, both where they could be made.
    """

    forward: Mapping[str, inspect.Parameter]
    arguments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    config: Any = None
    main_input: str | None = None
    module: torch.nn.Module | None = None

    def setting(self, *names: str) -> int | None:
        """A number in the config, or in the config of its text or vision part."""
        parts = [self.config, *(getattr(self.config, f"{p}_config", None) for p in ("text", "vision"))]
        for name in names:
            for part in parts:
                value = getattr(part, name, None)
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
        return None


def draft(model: str) -> str:
    """The text of a recipe for ``package.module:attribute``, which ``modelbuild check`` accepts.

    Raises:
        RecipeError: ``model`` is not an import path.
        StepError: ``import-failed``, or ``inputs-mismatch`` where forward() takes no tensor.
    """
    if not re.fullmatch(IMPORT, model):
        raise RecipeError(
            Diagnostic(
                "recipe-invalid",
                f"`{model}` is not an import path",
                "write `package.module:attribute`, as in `transformers:BertModel`",
            )
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    subject = _subject(model, import_attribute(model))
    wanted, optional = _inputs(model, subject)
    return _text(model, subject, wanted, optional)


def save(text: str, path: Path) -> None:
    """Write a draft to a new file.

    Raises:
        RecipeError: there is a file already; it may hold somebody's work.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        said = Diagnostic("recipe-invalid", f"{path} exists already", "name another file, or remove it")
        raise RecipeError(said) from error


# ---- the model -----------------------------------------------------------------------------------


def _subject(model: str, attribute: Any) -> Subject:
    """What the attribute is: a model, a class of models, or a function that returns one."""
    import torch

    if isinstance(attribute, torch.nn.Module):
        return Subject(_parameters(model, attribute.forward), module=attribute)
    if isinstance(attribute, type) and issubclass(attribute, torch.nn.Module):
        return _of_class(model, attribute)
    if not callable(attribute):
        raise _not_a_model(model, attribute)
    return _of_function(model, attribute)


def _of_class(model: str, cls: type[torch.nn.Module]) -> Subject:
    forward = _parameters(model, cls.forward, bound=False)
    config_class = getattr(cls, "config_class", None)
    required = _required(cls)
    if isinstance(config_class, type) and "config" in required:
        return _of_transformers(cls, config_class, forward, required)
    arguments, notes = _placeholders(required)
    return Subject(forward, arguments, notes, module=None if required else _made(cls))


def _of_transformers(
    cls: type[Any],
    config_class: type[Any],
    forward: Mapping[str, inspect.Parameter],
    required: Sequence[str],
) -> Subject:
    """A class whose constructor takes a config object, which its own class makes by default."""
    others, notes = _placeholders([n for n in required if n != "config"])
    config = None
    try:
        config = config_class()
    except Exception as error:
        notes = (*notes, f"{config_class.__name__}() alone fails ({first_line(error, 80)}): give it `kwargs`")
    given = ["import: " + _import_path(config_class, cls)]
    if _caches(config):
        given.append("kwargs: {use_cache: false}")  # past keys and values are no tensors
    arguments = (f"config: {{{', '.join(given)}}}", *others)
    main = getattr(cls, "main_input_name", None)
    return Subject(forward, arguments, notes, config, main if main in forward else None)


def _of_function(model: str, function: Any) -> Subject:
    """A function: what it is annotated to return, or what it returns if it needs no argument."""
    import torch

    required = _required(function)
    arguments, notes = _placeholders(required)
    owner = getattr(function, "__self__", None)  # Net.from_name, a class method
    promised = owner if isinstance(owner, type) else _return_type(function)
    module = None
    if not required:
        module = _made(function)
        if module is None:
            module = resolve({"import": model})
        if not isinstance(module, torch.nn.Module):
            raise _not_a_model(model, module)
        return Subject(_parameters(model, module.forward), arguments, notes, module=module)
    if (
        isinstance(promised, type)
        and issubclass(promised, torch.nn.Module)
        and promised is not torch.nn.Module
    ):
        forward = _parameters(model, promised.forward, bound=False)
        return Subject(forward, arguments, notes)
    guess = inspect.Parameter("input", inspect.Parameter.POSITIONAL_ONLY)
    unknown = f"`{model}` needs arguments, so forward() could not be read: the inputs are a pure guess"
    return Subject({"input": guess}, arguments, (*notes, unknown))


def _made(function: Any) -> torch.nn.Module | None:
    """The model without its weights: on torch's meta device a tensor has a shape and no memory."""
    import torch

    with contextlib.suppress(Exception), torch.device("meta"):
        made = function()
        if isinstance(made, torch.nn.Module):
            return made
    return None


def _parameters(model: str, forward: Any, *, bound: bool = True) -> dict[str, inspect.Parameter]:
    """The parameters of forward(), without ``self``, ``**kwargs`` and ``*args``."""
    if getattr(forward, "__name__", "") == "_forward_unimplemented":
        raise _no_input(f"`{model}` has no forward()")
    try:
        found = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError) as error:
        raise _no_input(f"the signature of `{model}`'s forward() cannot be read") from error
    named = {p.name: p for p in (found if bound else found[1:]) if not _is_open(p)}
    if not named and any(p.kind is p.VAR_POSITIONAL for p in found):
        named = {"input": inspect.Parameter("input", inspect.Parameter.POSITIONAL_ONLY)}
    return named


def _required(function: Any) -> list[str]:
    """The parameters that a call must give."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in found if p.default is p.empty and not _is_open(p)]


def _is_open(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _placeholders(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    lines = tuple(f"{_key(n)}: null  # check: required, and only you know its value" for n in names)
    notes = ("the values under `kwargs` must be filled in before it builds",) if lines else ()
    return lines, notes


def _return_type(function: Any) -> Any:
    with contextlib.suppress(Exception):  # a forward reference to a name that is not there
        return typing.get_type_hints(function).get("return")
    return None


def _import_path(config_class: type[Any], cls: type[Any]) -> str:
    """Where a config class is imported from: its package, if it is offered there."""
    package, name = config_class.__module__.partition(".")[0], config_class.__qualname__
    for module in (package, cls.__module__):
        if getattr(sys.modules.get(module), name, None) is config_class:
            return f"{module}:{name}"
    return f"{config_class.__module__}:{name}"


def _caches(config: Any) -> bool:
    """Whether the model returns its keys and values by default, as a decoder does."""
    encoder = getattr(config, "is_decoder", None) is False
    return bool(getattr(config, "use_cache", False)) and not (
        encoder and not getattr(config, "is_encoder_decoder", False)
    )


# ---- the inputs ----------------------------------------------------------------------------------


def _inputs(model: str, subject: Subject) -> tuple[list[Input], list[Input]]:
    """The inputs to build with, and others that forward() takes if it is given them."""
    tensors = {n: p for n, p in subject.forward.items() if p.annotation not in _SCALARS}
    if not tensors:
        raise _no_input(f"forward() of `{model}` takes no tensor")
    names = [n for n, p in tensors.items() if p.default is p.empty]
    names += [n for n in _usual(subject) if n in tensors and n not in names]
    if not names:
        names = [next(iter(tensors))]
    names.sort(key=list(tensors).index)
    alone = len(names) == 1
    wanted = [_input(n, subject, alone) for n in names]
    others = [_known(n, subject) for n in tensors if n not in names and "past" not in n]
    return wanted, [i for i in others if i is not None]


def _usual(subject: Subject) -> Iterator[str]:
    """What a transformers model is given, although its forward() requires nothing."""
    if subject.main_input is None:
        return
    yield subject.main_input
    if subject.main_input == "input_ids":
        yield "attention_mask"
        yield "pixel_values"  # text and images: CLIP, ViLT
    if getattr(subject.config, "is_encoder_decoder", False):
        yield "decoder_input_ids"


def _input(name: str, subject: Subject, alone: bool) -> Input:
    """The best guess: by name where it says much, by the first layer, by name where it says little."""
    known = _known(name, subject)
    layered = _from_layer(name, subject.module) if alone else None
    if layered is not None and (known is None or _refines(layered, known)):
        return layered
    if known is not None:
        return known
    if name in _ANYTHING:
        return Input(name, ("batch", 3, 224, 224), FROM_NAME)
    return Input(name, ("batch", 16), NO_CLUE)


def _refines(layered: Input, known: Input) -> bool:
    """Whether the first layer says the same kind of thing as the name, only with better numbers."""
    alike = len(layered.shape) == len(known.shape) and layered.dtype == known.dtype
    return alike and known.note != FROM_CONFIG


def _known(name: str, subject: Subject) -> Input | None:
    """An input whose name says what it is."""
    axis = "decoder_sequence" if name.startswith("decoder_") else "sequence"
    tokens = ("batch", axis)
    if name in _TOKENS:
        high = subject.setting("vocab_size")
        note = FROM_CONFIG if high else "the number of words is a guess"
        return Input(name, tokens, note, "int64", f"low: 0, high: {high or 1000}")
    if name in _MASKS:
        return Input(name, tokens, "all ones: nothing is masked", "int64", "low: 1, high: 2")
    if name == "token_type_ids":
        high = subject.setting("type_vocab_size") or 2
        return Input(name, tokens, FROM_NAME, "int64", f"low: 0, high: {high}")
    if name == "position_ids":
        high = subject.setting("max_position_embeddings") or 16
        return Input(name, tokens, FROM_NAME, "int64", f"low: 0, high: {high}")
    if name in _IMAGES:
        return _image(name, subject)
    mel = subject.setting("num_mel_bins")
    if name == "input_features" and mel:
        frames = 2 * (subject.setting("max_source_positions") or 1500)
        return Input(name, ("batch", mel, frames), FROM_CONFIG)
    if name == "input_values" and subject.config is not None:
        length = subject.setting("max_length")
        spectrum = ("batch", length, mel) if length and mel else None
        return Input(name, spectrum or ("batch", "samples"), FROM_CONFIG if spectrum else FROM_NAME)
    return None


def _image(name: str, subject: Subject) -> Input:
    size = subject.setting("image_size")
    channels = subject.setting("num_channels") or 3
    frames = subject.setting("num_frames")
    shape = (*(("batch", frames) if frames else ("batch",)), channels, size or 224, size or 224)
    return Input(name, shape, FROM_CONFIG if size else FROM_NAME)


def _from_layer(name: str, module: torch.nn.Module | None) -> Input | None:
    """What the first layer takes. First in the order of making, which need not be that of running."""
    from torch import nn

    shape: tuple[int | str, ...]
    for layer in module.modules() if module is not None else ():
        match layer:
            case nn.Embedding():
                values = f"low: 0, high: {layer.num_embeddings}"
                return Input(name, ("batch", "sequence"), FROM_LAYER, "int64", values)
            case nn.Conv1d():
                shape = ("batch", layer.in_channels, 256)
            case nn.Conv2d():
                shape = ("batch", layer.in_channels, 224, 224)
            case nn.Conv3d():
                shape = ("batch", layer.in_channels, 16, 112, 112)
            case nn.MultiheadAttention():
                shape = ("batch", "sequence", layer.embed_dim)
                shape = shape if layer.batch_first else ("sequence", "batch", layer.embed_dim)
            case nn.RNNBase():
                shape = ("batch", "sequence", layer.input_size)
                shape = shape if layer.batch_first else ("sequence", "batch", layer.input_size)
            case nn.Linear():
                shape = ("batch", layer.in_features)
            case _:
                continue
        return Input(name, shape, FROM_LAYER)
    return None


# ---- the text ------------------------------------------------------------------------------------


@dataclass
class _Lines:
    """Lines of YAML."""

    text: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        self.text += lines

    def below(self, *lines: str) -> None:
        self.text += [f"  {line}" for line in lines]


def _text(model: str, subject: Subject, wanted: Sequence[Input], optional: Sequence[Input]) -> str:
    name = _name(model)
    lines = _Lines()
    lines.add(f"# Drafted by `modelbuild init {model}`. Look at what says `check`, then:")
    lines.add("#   modelbuild check RECIPE && modelbuild build RECIPE")
    lines.add(*(f"# check: {note}" for note in subject.notes))
    lines.add(f"name: {name}", "model:")
    lines.below(f"import: {model}")
    if subject.arguments:
        lines.below("kwargs:", *(f"  {a}" for a in subject.arguments))
    lines.below("# weights: weights.safetensors  # a state dict; random weights without it")
    lines.add("inputs:")
    lines.below(*(i.line() for i in wanted), *(f"# {i.line()}" for i in optional))
    lines.add("# outputs: [logits]  # names, in order; without this they keep the exporter's")
    used = [a for a in _AXES if any(a in i.shape for i in wanted)]
    lines.add("dynamic_axes:  # check: the sizes that you will use")
    lines.below(*(f"{a}: {_range(a, subject)}" for a in used))
    lines.add("opset: 18", "precision:")
    lines.below("fp32:", "fp16: {method: convert}")
    lines.add("# static:  # variants with axes pinned", "#   - {batch: 1}")
    lines.add("# engines:", "#   - {precision: fp16, backend: tensorrt-rtx}")
    return "\n".join(lines.text) + "\n"


def _range(axis: str, subject: Subject) -> str:
    """The sizes of an axis, within the positions that the model has."""
    limit = subject.setting("max_position_embeddings") if axis.endswith("sequence") else None
    low, opt, high = (min(size, limit or size) for size in _AXES[axis])
    return f"{{min: {low}, opt: {opt}, max: {high}}}"


def _name(model: str) -> str:
    """``my.nets:BertModel`` -> ``bert_model``; ``ViTModel`` -> ``vit_model``, ``MyMLP`` -> ``my_mlp``."""
    attribute = model.partition(":")[2].replace(".", "_")
    word = r"(?<=[a-z0-9])(?=[A-Z](?:[a-z]|[A-Z]{2}|[A-Z]$))|(?<=[A-Z])(?=[A-Z][a-z])"
    split = re.sub(word, "_", attribute)
    return re.sub("_+", "_", split).strip("_").lower()


def _key(name: str) -> str:
    """A name as a YAML key; quoted where it would mean something else."""
    return name if meaning(name) == name else f'"{name}"'


def _not_a_model(model: str, value: Any) -> StepError:
    message = f"`{model}` gives a `{type(value).__name__}`, not a torch.nn.Module"
    hint = "name a Module class, a function that returns one, or an instance"
    return StepError(Diagnostic("import-failed", message, hint))


def _no_input(message: str) -> StepError:
    return StepError(Diagnostic("inputs-mismatch", message, "a model takes one tensor or more"))
