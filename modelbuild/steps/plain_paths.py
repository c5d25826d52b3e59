"""The paths of PyTorch that an exporter can follow, taken by the reference and by the exporters alike.

``torch.nn``'s transformer layers have a second, fused implementation for inference, and pick it, or
another kernel, by the values of their masks. No exporter knows the fused operators, and a graph takes
one path for all values. Both paths compute the same, but for one thing: with a padding mask, the fused
one returns zeros where a row is padded. So the model is settled once, when it is made, and everything
that runs it sees the same.
"""

from __future__ import annotations

from typing import Any


def take() -> None:
    """Switch the fused paths off in this process and its forks."""
    import torch

    torch.backends.mha.set_fastpath_enabled(False)
    torch.nn.modules.transformer._detect_is_causal_mask = _said_to_be_causal


def _said_to_be_causal(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
    """Whether the caller says that the mask is causal; its values only choose a faster kernel."""
    return is_causal is True
