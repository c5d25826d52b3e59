"""A very small net for pictures of digits: a residual block, and a convolution of each channel by itself.

So small that it tells some pictures wrong: what changes when it becomes int8 is seen in the others.
"""

from __future__ import annotations

import torch
from torch import nn


class DigitsNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2), nn.ReLU(),
            nn.Conv2d(2, 2, 3, padding=1, bias=False), nn.BatchNorm2d(2),
        )  # fmt: skip
        self.down = nn.Sequential(
            nn.Conv2d(2, 2, 3, stride=2, padding=1, groups=2, bias=False), nn.BatchNorm2d(2), nn.ReLU(),
            nn.Conv2d(2, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(4 * 4 * 4, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem(image)
        x = torch.relu(x + self.block(x))
        return self.head(self.down(x).flatten(1))
