"""What the layers of a model take: candidates for its inputs, in the order in which they were made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modelbuild.setup.drafting.values import DraftInput, whole

if TYPE_CHECKING:
    import torch

FROM_LAYER = "guessed from the first layer"
FROM_LATER = "guessed from a layer"
_MOST = 8  # different layers; what an input meets first is among the first


def candidates(name: str, module: torch.nn.Module | None, place: int) -> Iterator[DraftInput]:
    """An input for each of the first different layers, then for other ranks of the same. What is at
    ``place`` among the inputs likelier goes into the layer of that place than into the first."""
    heads = list(_heads(name, module))
    heads = heads[place:] + heads[:place]
    yield from heads
    for head in heads:
        yield from _of_other_rank(head)


def words(module: torch.nn.Module | None) -> int | None:
    """The number of words of the first embedding."""
    from torch import nn

    found = (m.num_embeddings for m in (module.modules() if module is not None else ())
             if isinstance(m, nn.Embedding | nn.EmbeddingBag))  # fmt: skip
    return next(found, None)


def _heads(name: str, module: torch.nn.Module | None) -> Iterator[DraftInput]:
    """First in the order of making, which need not be that of running."""
    seen: set[object] = set()
    for layer in module.modules() if module is not None else ():
        note = FROM_LATER if seen else FROM_LAYER
        for found in (_taken_by(name, layer, note), _kept_by(name, layer)):
            if found is None or (key := (found.shape, found.values)) in seen:
                continue
            seen.add(key)
            yield found
            if len(seen) == _MOST:
                return
    if not seen and module is not None:
        from torch.nn.parameter import is_lazy

        sized = [p for p in module.parameters() if not is_lazy(p)]
        for width in dict.fromkeys(d for p in sized for d in reversed(p.shape) if d > 1):
            yield DraftInput(name, ("batch", width), "guessed from a weight")


def _taken_by(name: str, layer: torch.nn.Module, note: str) -> DraftInput | None:
    from torch import nn

    match layer:
        case nn.Embedding() | nn.EmbeddingBag():
            return DraftInput(name, ("batch", "sequence"), note, "int64", whole(0, layer.num_embeddings))
        case nn.Conv1d() | nn.ConvTranspose1d():
            return DraftInput(name, ("batch", layer.in_channels, "length"), note, sizes={"length": 256})
        case nn.Conv2d() | nn.ConvTranspose2d():
            sides = {"height": 224, "width": 224}
            return DraftInput(name, ("batch", layer.in_channels, "height", "width"), note, sizes=sides)
        case nn.Conv3d() | nn.ConvTranspose3d():
            sides = {"frames": 16, "height": 112, "width": 112}
            shape = ("batch", layer.in_channels, "frames", "height", "width")
            return DraftInput(name, shape, note, sizes=sides)
        case nn.MultiheadAttention():
            return _steps(name, layer.embed_dim, layer.batch_first, note)
        case nn.RNNBase():
            return _steps(name, layer.input_size, layer.batch_first, note)
        case nn.RNNCellBase():
            return DraftInput(name, ("batch", layer.input_size), note)
        case nn.Linear():
            return DraftInput(name, ("batch", layer.in_features), note)
        case nn.BatchNorm1d():
            return DraftInput(name, ("batch", layer.num_features), note)
        case nn.BatchNorm2d():
            sides = {"height": 224, "width": 224}
            return DraftInput(name, ("batch", layer.num_features, "height", "width"), note, sizes=sides)
        case nn.LayerNorm():
            return DraftInput(name, ("batch", *map(int, layer.normalized_shape)), note)
    return None


def _kept_by(name: str, layer: torch.nn.Module) -> DraftInput | None:
    """The state of a recurrent layer, which some models take and return."""
    from torch import nn

    if not isinstance(layer, nn.RNNBase):
        return None
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    return DraftInput(name, (rows, "batch", layer.proj_size or layer.hidden_size), FROM_LATER)


def _steps(name: str, width: int, batch_first: bool | None, note: str) -> DraftInput:
    """A sequence of vectors. What is in the batch comes first, or second as torch has it by default."""
    axes = ("batch", "sequence") if batch_first else ("sequence", "batch")
    return DraftInput(name, (*axes, width), note)


def _of_other_rank(head: DraftInput) -> Iterator[DraftInput]:
    """A layer takes more than one rank: a Linear any, an Embedding single words, too."""
    match head.shape:
        case ("batch", "sequence"):
            yield DraftInput(head.name, ("batch",), head.note, head.dtype, head.values)
            yield DraftInput(head.name, ("batch", 1), head.note, head.dtype, head.values)
            yield DraftInput(head.name, ("sequence", "batch"), head.note, head.dtype, head.values)
        case ("batch", int(width)):
            yield DraftInput(head.name, ("batch", "sequence", width), head.note)
            yield DraftInput(head.name, ("batch", width, "length"), head.note, sizes={"length": 16})
            yield DraftInput(head.name, ("batch", 4, "sequence", width), head.note)
            yield DraftInput(head.name, (width,), head.note)
            side = round(width**0.5)
            for channels in (1, 3):
                side = round((width / channels) ** 0.5)
                if side > 1 and side * side * channels == width:
                    yield DraftInput(head.name, ("batch", channels, side, side), head.note)
        case ("sequence", "batch", int(width)):
            yield DraftInput(head.name, ("batch", "sequence", width), head.note)
        case ("batch", int(channels), "height", "width"):
            yield DraftInput(head.name, (channels, "height", "width"), head.note, sizes=head.sizes)
            yield DraftInput(head.name, ("batch", "height", "width", channels), head.note, sizes=head.sizes)
            leading = ("batch", "frames", channels, "height", "width")
            yield DraftInput(head.name, leading, head.note, sizes={"frames": 4, **head.sizes})
            if channels == 1:
                yield DraftInput(head.name, ("batch", "height", "width"), head.note, sizes=head.sizes)
        case ("batch", int(channels), "length"):
            yield DraftInput(head.name, ("batch", "length", channels), head.note, sizes=head.sizes)
