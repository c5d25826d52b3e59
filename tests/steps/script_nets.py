"""Modules to be scripted or traced, which need a file that TorchScript can read them from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.size(0) > 3:
            return self.f(x) * 2
        return self.f(x)


class Values(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if bool(y.sum() > 0):
            return x * y
        return x - y


class Loop(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x[0]
        for i in range(x.size(0)):
            total = total * 0.5 + x[i]
        return total


class Dict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": self.f(x), "aux.0": x * 2}


class Many(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x + 1, x * 2]


class Pair(NamedTuple):
    one: torch.Tensor
    two: torch.Tensor


class Named(nn.Module):
    def forward(self, x: torch.Tensor) -> Pair:
        return Pair(x + 1, x * 2)


class Optional(nn.Module):
    def forward(
        self, x: torch.Tensor, y: torch.Tensor | None = None, scale: float = 2.0
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        return (x * scale if y is None else x * scale + y), y


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.sizes = [1, 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x + 1


class BranchOfDicts(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        if x.size(0) > 3:
            return {"y": x}
        return {"y": x + 1}


@torch.jit.script
def scaled(x: torch.Tensor, by: int = 3) -> torch.Tensor:
    if x.size(0) > 3:
        return x * by
    return x - by


class Late(nn.Module):
    """Another function after so many calls."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.calls, self.after = 0, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * 2 if self.calls > self.after else x
