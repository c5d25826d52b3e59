"""The inputs of a model, guessed: from names and from the default config, the likeliest first."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.base.tensors import Values
from modelbuild.setup.drafting import layers
from modelbuild.setup.drafting.asked import NOTHING, Asked, AskedInput
from modelbuild.setup.drafting.ranges import is_batch
from modelbuild.setup.drafting.signature import Subject, no_input
from modelbuild.setup.drafting.values import BASES, DraftInput, whole
from modelbuild.wording.phrases import listed, meant, nearest

FROM_NAME = "guessed from the name"
FROM_CONFIG = "from the config"
AS_ASKED = "as asked for"
NO_CLUE = "nothing in the signature says what this is"

_IMAGES = ("pixel_values", "image", "images", "img", "imgs", "frame", "frames", "picture")
_TOKENS = ("input_ids", "decoder_input_ids", "tokens", "token_ids", "ids")
_MASKS = ("attention_mask", "decoder_attention_mask", "padding_mask")
_ANYTHING = ("x", "input", "inputs", "data", "sample", "features")  # often an image, but who knows
_NUMBERS = ("scale", "temperature", "threshold", "alpha", "beta", "gain", "sigma", "eps", "step")
_SCALARS = {"bool", "int", "float", "str", "None", "NoneType", "Optional", "Union", "Literal", "typing", "t"}
_SIDES = (224, 32, 28, 64, 128, 256, 96, 299, 16, 48, 8, 112, 384, 512)
_SOME = Values(low=0.5, high=1.5)  # around 1: what divides, takes a root or a logarithm runs


def guess(model: str, subject: Subject, asked: Mapping[str, AskedInput]) -> tuple[list[str], list[str]]:
    """The names of the inputs to build with, and of others that forward() takes if it is given them.

    Raises:
        StepError: ``inputs-mismatch``: it takes no tensor, or has no parameter of a name that is asked for.
    """
    tensors = {n: p for n, p in subject.forward.items() if _may_be_a_tensor(p)}
    if asked:
        return _asked_for(model, subject, list(asked), tensors)
    if not tensors:
        raise no_input(f"forward() of `{model}` takes no tensor")
    names = [n for n, p in tensors.items() if p.default is p.empty]
    names += [n for n in _usual(subject) if n in tensors and n not in names]
    if not names:
        names = [next(iter(tensors))]
    names.sort(key=list(tensors).index)
    return names, [n for n in tensors if n not in names and "past" not in n]


def _asked_for(
    model: str, subject: Subject, asked: list[str], tensors: Mapping[str, inspect.Parameter]
) -> tuple[list[str], list[str]]:
    """The inputs that are asked for, and what forward() requires beside them; or these alone, by position."""
    unknown = [n for n in asked if n not in subject.forward]
    near = {n: nearest(n, subject.forward) for n in unknown}
    if len(unknown) == len(asked) and (subject.names_are_free or not any(near.values())):
        return asked, []
    if unknown:
        message = f"forward() of `{model}` has no parameter {listed(unknown)}"
        hint = meant(near[unknown[0]]) or f"it takes {listed(subject.forward)}"
        raise StepError(Diagnostic("inputs-mismatch", message, hint))
    required = [n for n, p in tensors.items() if p.default is p.empty and n not in asked]
    names = sorted([*asked, *required], key=list(subject.forward).index)
    return names, [n for n in tensors if n not in names and "past" not in n]


def _may_be_a_tensor(parameter: inspect.Parameter) -> bool:
    """Whether it is neither annotated as a number, a flag or a text, nor one by default."""
    kind = parameter.annotation
    if kind is parameter.empty:
        return parameter.default is None or not isinstance(parameter.default, bool | int | float | str)
    written = kind if isinstance(kind, str) else inspect.formatannotation(kind)
    return not set(re.findall(r"\w+", written)) <= _SCALARS


def candidates(
    name: str, subject: Subject, place: int, count: int, asked: Asked = NOTHING
) -> list[DraftInput]:
    """What the input ``place`` of ``count`` may be, the likeliest first; at least one."""
    found = _guesses(name, subject, place, count)
    if (given := asked.inputs.get(name)) is not None:
        found = _as_asked(given, found)
    opts = {axis: wanted.opt for axis, wanted in asked.axes.items()}
    return [replace(f, sizes={**f.sizes, **{a: opts[a] for a in f.axes if a in opts}}) for f in found]


def _as_asked(given: AskedInput, guesses: Sequence[DraftInput]) -> list[DraftInput]:
    """The guesses in this shape, at some sizes of axes whose name tells none."""
    kinds = {(g.dtype, given.values or g.values): None for g in guesses if given.dtype in (None, g.dtype)}
    kinds.setdefault((given.dtype or "float32", given.values or Values()))
    rows = [DraftInput(given.name, given.shape, AS_ASKED, d, v, settled=True) for d, v in kinds]
    unknown = [a for a in rows[0].axes if a not in BASES and not is_batch(a)]
    sizes = [dict.fromkeys(unknown, side) for side in (*_SIDES, 2)] if unknown else [{}]
    return [replace(row, sizes=size) for size in sizes for row in rows]


def _guesses(name: str, subject: Subject, place: int, count: int) -> list[DraftInput]:
    """As ``candidates``, for an input of which nothing is settled."""
    known = optional(name, subject)
    layered = list(layers.candidates(name, subject.module, place))
    found = [known] if known is not None else []
    if layered and count == 1 and (known is None or _refines(layered[0], known)):
        found.insert(0, layered[0])
    if "mask" in name and known is None:
        found += _masks(name)
    if name in _NUMBERS:
        found.append(DraftInput(name, (), FROM_NAME, values=_SOME))
    if name in _ANYTHING and known is None and not layered:
        found.append(image(name, 3, FROM_NAME))
    if count == 1 or known is None:
        found += layered
    if not found:
        found.append(DraftInput(name, ("batch", 16), NO_CLUE))
    if known is not None:
        found += _other_types(known)
    for pictured in [f for f in found if "height" in f.axes]:
        found += [_at(pictured, side) for side in _SIDES]
    found += [*layered, *_of_whole_numbers(found[0]), *_anything(name)]
    if "mask" not in name:
        found += _masks(name)
    unique: dict[object, DraftInput] = {}
    for one in found:
        unique.setdefault((one.shape, one.dtype, one.values, tuple(one.sizes.items())), one)
    if (wide := _wide(subject)) is not None:
        ordered = [replace(f, dtype=wide) if f.dtype == "float32" else f for f in unique.values()]
        unique = dict(enumerate(ordered))
    parameter = subject.forward.get(name)  # None: one of *tensors
    return _as_annotated(list(unique.values()), str(parameter.annotation) if parameter else "")


def image(
    name: str, channels: int, note: str, size: int = 224, leading: tuple[int | str, ...] = ()
) -> DraftInput:
    """A batch of pictures, square as far as anybody knows."""
    shape = ("batch", *leading, channels, "height", "width")
    return DraftInput(name, shape, note, sizes={"height": size, "width": size})


def optional(name: str, subject: Subject) -> DraftInput | None:
    """An input whose name says what it is."""
    axis = "decoder_sequence" if name.startswith("decoder_") else "sequence"
    tokens = ("batch", axis)
    sizes = _within(axis, subject)
    if name in _TOKENS:
        high = subject.setting("vocab_size") or layers.words(subject.module)
        note = FROM_CONFIG if subject.setting("vocab_size") else (
            layers.FROM_LAYER if high else "the number of words is a guess"
        )  # fmt: skip
        return DraftInput(name, tokens, note, "int64", whole(0, high or 1000), sizes)
    if name in _MASKS:
        return DraftInput(name, tokens, "all ones: nothing is masked", "int64", whole(1, 2), sizes)
    if name == "token_type_ids":
        return DraftInput(
            name, tokens, FROM_NAME, "int64", whole(0, subject.setting("type_vocab_size") or 2), sizes
        )
    if name == "position_ids":
        high = subject.setting("max_position_embeddings") or 16
        return DraftInput(name, tokens, FROM_NAME, "int64", whole(0, high), sizes)
    if name in _IMAGES:
        return _picture(name, subject)
    mel = subject.setting("num_mel_bins")
    if name == "input_features" and mel:
        frames = 2 * (subject.setting("max_source_positions") or 1500)
        return DraftInput(name, ("batch", mel, frames), FROM_CONFIG)
    if name == "input_values" and subject.config is not None:
        length = subject.setting("max_length")
        spectrum = ("batch", length, mel) if length and mel else None
        return DraftInput(name, spectrum or ("batch", "samples"), FROM_CONFIG if spectrum else FROM_NAME)
    context, channels = subject.setting("context_length"), subject.setting("num_input_channels")
    if name == "past_values" and context and channels:
        return DraftInput(name, ("batch", context, channels), FROM_CONFIG)
    return None


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


def _within(axis: str, subject: Subject) -> dict[str, int]:
    """A size to try that the model's positions allow."""
    limit = subject.setting("max_position_embeddings")
    return {axis: limit} if limit and limit < 16 else {}


def _refines(layered: DraftInput, known: DraftInput) -> bool:
    """Whether the first layer says the same kind of thing as the name, only with better numbers."""
    alike = len(layered.shape) == len(known.shape) and layered.dtype == known.dtype
    return alike and known.note != FROM_CONFIG


def _picture(name: str, subject: Subject) -> DraftInput:
    size = subject.setting("image_size")
    frames = subject.setting("num_frames")
    return image(
        name, subject.setting("num_channels") or 3, FROM_CONFIG if size else FROM_NAME, size or 224,
        (frames,) if frames else (),
    )  # fmt: skip


def _at(picture: DraftInput, side: int) -> DraftInput:
    return replace(picture, sizes={**picture.sizes, "height": side, "width": side})


def _other_types(known: DraftInput) -> list[DraftInput]:
    """The same input where the model wants another dtype than its name says."""
    if known.dtype != "int64":
        return []
    return [
        replace(known, dtype="bool", values=Values()),
        replace(known, dtype="bool", values=Values(constant=1)),
        replace(known, dtype="float32", values=_SOME),
        replace(known, dtype="int32"),
    ]


def _of_whole_numbers(likeliest: DraftInput) -> list[DraftInput]:
    """The same shape for counts, and for pictures as cameras give them."""
    if likeliest.dtype != "float32":
        return []
    return [
        replace(likeliest, dtype="int64", values=whole(0, 8)),
        replace(likeliest, dtype="uint8", values=whole(0, 256)),
    ]


def _wide(subject: Subject) -> str | None:
    """float64 where that is what the weights are: PyTorch mixes it with no float32."""
    import torch

    first = next(iter(subject.module.parameters()), None) if subject.module is not None else None
    return "float64" if first is not None and first.dtype == torch.float64 else None


def _masks(name: str) -> list[DraftInput]:
    """Masks in their usual forms; drawn at random, or all one where that gives no numbers."""
    shapes: list[tuple[int | str, ...]] = [
        ("batch", "sequence"), ("batch",), ("batch", "sequence", 1), ("sequence", "sequence"),
        ("batch", 1, "sequence", "sequence"), ("batch", 1, 1, "sequence"),
    ]  # fmt: skip
    note = FROM_NAME if "mask" in name else NO_CLUE
    drawn = [DraftInput(name, s, note, "bool") for s in shapes]
    drawn.insert(1, DraftInput(name, shapes[0], note, "int64", whole(0, 2)))
    return [
        *drawn,
        *(DraftInput(name, s, note, "bool", Values(constant=v)) for v in (1, 0) for s in shapes),
        *(DraftInput(name, s, note) for s in shapes),
    ]


def _anything(name: str) -> list[DraftInput]:
    """What an input is where nothing else ran."""
    return [
        image(name, 3, NO_CLUE), image(name, 1, NO_CLUE), DraftInput(name, ("batch", 16), NO_CLUE),
        DraftInput(name, ("batch", 3), NO_CLUE), DraftInput(name, ("batch", "sequence", 3), NO_CLUE),
        DraftInput(name, ("batch", "sequence", 16), NO_CLUE), DraftInput(name, ("batch",), NO_CLUE),
        DraftInput(name, ("batch", "sequence"), NO_CLUE, "int64", whole(0, 2)),
        DraftInput(name, ("batch",), NO_CLUE, "int64", whole(0, 2)),
        DraftInput(name, (), NO_CLUE, values=_SOME),
        DraftInput(name, (), NO_CLUE, "int64", whole(0, 2)), DraftInput(name, (), NO_CLUE, "bool"),
        DraftInput(name, ("batch", "samples"), NO_CLUE),
    ]  # fmt: skip


def _as_annotated(found: list[DraftInput], annotation: str) -> list[DraftInput]:
    """Those of the dtype that the annotation names first."""
    wanted = next((d for word, d in (("LongTensor", "int64"), ("IntTensor", "int32"), ("BoolTensor", "bool"))
                   if word in annotation), None)  # fmt: skip
    return sorted(found, key=lambda i: i.dtype != wanted) if wanted else found
