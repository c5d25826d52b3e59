"""The inputs of a model, guessed: from names, from the default config, or from the first layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelbuild.drafting.signature import Subject, no_input

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


@dataclass(frozen=True)
class Input:
    """A line under ``inputs``. ``note`` says what the shape rests on."""

    name: str
    shape: tuple[int | str, ...]
    note: str
    dtype: str = "float32"
    values: str = ""


def guess(model: str, subject: Subject) -> tuple[list[Input], list[Input]]:
    """The inputs to build with, and others that forward() takes if it is given them."""
    tensors = {n: p for n, p in subject.forward.items() if p.annotation not in _SCALARS}
    if not tensors:
        raise no_input(f"forward() of `{model}` takes no tensor")
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
