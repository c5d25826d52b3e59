"""Which weights a model has: one digest of its parameters and buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def digest(module: torch.nn.Module) -> str:
    """``sha256:…`` of the names, dtypes, shapes and bytes of a module's parameters and buffers.

    Random weights differ between processors: PyTorch draws other numbers with AVX-512 than with AVX2. A
    tensor that is written at two places counts once. One without plain bytes (a lazy layer's before its
    first input, sparse, quantized) counts by its name and dtype alone.
    """
    import hashlib

    import torch

    # As PyTorch has them: a class of the user's may have methods of these names that do something else.
    found = [*torch.nn.Module.named_parameters(module), *torch.nn.Module.named_buffers(module)]
    state = hashlib.sha256()
    for name, tensor in sorted(found, key=lambda row: row[0]):
        state.update(f"{name}\0{tensor.dtype}\0".encode())
        content = _bytes(tensor)
        if content is not None:
            state.update(f"{tuple(tensor.shape)}\0".encode())
            state.update(content)
    return "sha256:" + state.hexdigest()


def _bytes(tensor: torch.Tensor) -> memoryview | None:
    """A tensor's elements, one after the other; None where it has none that lie in memory as numbers."""
    import torch

    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.is_quantized or tensor.device.type != "cpu":
        return None
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
