"""The models of the recipes here, in plain PyTorch with random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AlexNet(nn.Module):
    """torchvision's AlexNet, layer by layer; it gives a list: logits, and the features before them.

    ``image`` is (batch, 3, 224, 224); the list is of (batch, classes) and (batch, 4096).
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, stride=2),
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d((6, 6))
        self.hidden = nn.Sequential(
            nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(4096, classes)

    def forward(self, image: Tensor) -> list[Tensor]:
        embedding = self.hidden(self.pool(self.features(image)).flatten(1))
        return [self.head(embedding), embedding]


def convolutions(width: int) -> nn.Sequential:
    """Two convolutions with batch norm: (batch, 3, H, W) to (batch, width, H/4, W/4)."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU(),
    )  # fmt: skip


class Blurred(nn.Module):
    """Downsamples without aliasing, by a float32 kernel that stands in ``forward()``.

    ``model.half()`` cannot know of that kernel: PyTorch then refuses to mix the two types.
    """

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.width = width
        self.body = convolutions(width)
        self.head = nn.Linear(width, classes)

    def forward(self, image: Tensor) -> Tensor:
        kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
        kernel = kernel.expand(self.width, 1, 3, 3)
        blurred = F.conv2d(self.body(image), kernel, stride=2, padding=1, groups=self.width)
        logits: Tensor = self.head(blurred.mean((2, 3)))
        return logits


class Prototypes(nn.Module):
    """Classifies by squared distances to learned points, which go far beyond float16's 65504.

    Its author knew, and wrote a part of ``forward()`` that autocast leaves in float32.
    """

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.body = convolutions(width)
        self.points = nn.Parameter(200 * torch.randn(classes, width))

    def forward(self, image: Tensor) -> Tensor:
        features = self.body(image).mean((2, 3))
        with torch.autocast(image.device.type, enabled=False):
            squared = (100 * features.float().unsqueeze(1) - self.points).square().sum(-1)
            return -squared.sqrt()


class Masked(nn.Module):
    """A classifier whose first class is masked by -1e9, with weights too small for float16, too."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.body = convolutions(width)
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, classes)
        self.register_buffer("mask", torch.tensor([-1e9] + [0.0] * (classes - 1)))
        with torch.no_grad():
            self.second.weight[:, 0] = 1e-9  # float16 begins at 6e-8

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.relu(self.first(self.body(image).mean((2, 3))))
        return features, torch.softmax(self.second(features) + self.mask, -1)


class Norm(nn.Module):
    """As in language models: activations of some thousands, whose squares leave float16's range."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)


class Tokens(nn.Module):
    """Blocks with a residual stream of large values: (batch, sequence) of int64 to logits."""

    def __init__(self, words: int = 100, width: int = 32, blocks: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(Norm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(blocks)
        )
        self.norm = Norm(width)
        self.head = nn.Linear(width, words)

    def forward(self, tokens: Tensor) -> Tensor:
        x = 500 * self.embed(tokens)
        for block in self.blocks:
            x = x + block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


class Attention(nn.Module):
    """Self-attention over the frames that ``mask`` lets through; (batch, 1, frames) of bool."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        hidden = ~mask.unsqueeze(1)
        weights = scores.masked_fill(hidden, -1e4).softmax(-1).masked_fill(hidden, 0.0)
        mixed: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return mixed


class SpeechEncoder(nn.Module):
    """A transformer over filter banks with a frame in four, as speech recognisers begin.

    ``speech`` is (batch, frames, 80), ``mask`` (batch, 1, frames) and true for frames that count; the
    result is (batch, frames / 4, width).
    """

    def __init__(self, bins: int = 80, width: int = 64, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.subsample = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2), nn.ReLU()
        )
        self.project = nn.Linear(width * (((bins - 1) // 2 - 1) // 2), width)
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.feed = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
            )
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers + 1))

    def forward(self, speech: Tensor, mask: Tensor) -> Tensor:
        x = self.subsample(speech.unsqueeze(1))
        x = self.project(x.transpose(1, 2).flatten(2))
        mask = mask[:, :, 2::2][:, :, 2::2]
        for norm, attention, feed in zip(self.norms, self.attention, self.feed, strict=False):
            x = x + attention(norm(x), mask)
            x = x + feed(x)
        encoded: Tensor = self.norms[-1](x)
        return encoded
