"""Small models in plain PyTorch: what recipes beside this file build without a model library."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LstmTagger(nn.Module):
    """A tag for every token: embedding, bidirectional LSTM, linear.

    ``tokens`` is int64 of (batch, sequence); the logits are (batch, sequence, tags).
    """

    def __init__(self, words: int = 5000, width: int = 128, tags: int = 17) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, tags)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(tokens))
        logits: Tensor = self.head(states)
        return logits


def conv_block(inside: int, outside: int, stride: int = 2) -> nn.Sequential:
    """Convolution, batch norm, ReLU; a stride of 2 halves height and width, rounding up."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


class Backbone(nn.Module):
    """An image's features at strides 4, 8 and 16, finest first."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_block(3, width), conv_block(width, width))
        self.stride8 = nn.Sequential(conv_block(width, 2 * width), conv_block(2 * width, 2 * width, 1))
        self.stride16 = nn.Sequential(conv_block(2 * width, 4 * width), conv_block(4 * width, 4 * width, 1))
        self.widths = (width, 2 * width, 4 * width)

    def forward(self, image: Tensor) -> list[Tensor]:
        stride4 = self.stem(image)
        stride8 = self.stride8(stride4)
        return [stride4, stride8, self.stride16(stride8)]


class Segmenter(nn.Module):
    """A class for every pixel; ends in a bilinear resize to the size of ``image``."""

    def __init__(self, classes: int = 21) -> None:
        super().__init__()
        self.backbone = Backbone()
        fine, _, coarse = self.backbone.widths
        self.lateral = nn.Conv2d(fine, 64, 1)
        self.context = nn.Conv2d(coarse, 64, 1)
        self.head = nn.Sequential(conv_block(64, 64, 1), nn.Conv2d(64, classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        fine, _, coarse = self.backbone(image)
        coarse = F.interpolate(
            self.context(coarse), size=fine.shape[-2:], mode="bilinear", align_corners=False
        )
        logits = self.head(self.lateral(fine) + coarse)
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


class Detector(nn.Module):
    """Boxes, scores and class logits at every cell of three levels, one head for all of them.

    Each level gives a dict: ``boxes`` are distances to the four sides in pixels, (batch, cells, 4);
    ``scores`` are in 0..1, (batch, cells); ``logits`` are (batch, cells, classes).
    """

    def __init__(self, classes: int = 20, width: int = 64) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.strides = (4, 8, 16)
        self.laterals = nn.ModuleList(nn.Conv2d(w, width, 1) for w in self.backbone.widths)
        self.tower = conv_block(width, width, 1)
        self.head = nn.Conv2d(width, 4 + 1 + classes, 3, padding=1)

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        levels = []
        for features, lateral, stride in zip(self.backbone(image), self.laterals, self.strides, strict=True):
            cells = self.head(self.tower(lateral(features))).flatten(2).transpose(1, 2)
            boxes = F.softplus(cells[..., :4]) * stride
            levels.append({"boxes": boxes, "scores": torch.sigmoid(cells[..., 4]), "logits": cells[..., 5:]})
        return levels
