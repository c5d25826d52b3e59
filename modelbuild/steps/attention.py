"""Attention as products and a softmax, for opsets into which no exporter writes it whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

WHOLE_FROM = 14
"""The lowest opset for which torchscript knows ``scaled_dot_product_attention``."""


def spelled_out() -> AbstractContextManager[Any]:
    """Inside, ``scaled_dot_product_attention`` runs as the operators that it stands for."""
    import torch.nn.functional as F
    from torch.overrides import TorchFunctionMode

    class SpelledOut(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            if func is F.scaled_dot_product_attention:
                return attention(*args, **(kwargs or {}))
            return func(*args, **(kwargs or {}))

    return SpelledOut()


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As PyTorch documents ``scaled_dot_product_attention``, in operators of opset 9."""
    import torch

    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        rows, columns = torch.arange(query.shape[-2]), torch.arange(key.shape[-2])
        scores = scores.masked_fill(columns > rows.unsqueeze(-1), float("-inf"))
    elif attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    return torch.dropout(scores.softmax(-1), dropout_p, dropout_p > 0) @ value
