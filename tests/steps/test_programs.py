"""Programs whose operators were exchanged compute the same, and hold what an exporter can write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from modelbuild.steps.programs import reword, reworded

ROWS = torch.export.Dim.DYNAMIC


class _Calls(nn.Module):
    """A function as a module, with a fixed complex tensor for those that want one."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        generator = torch.Generator().manual_seed(1)
        angle = torch.rand(6, 4, generator=generator)
        self.register_buffer("turns", torch.polar(torch.ones_like(angle), angle))
        self.register_buffer("weights", torch.complex(angle[:4], 1 - angle[:4]))

    def forward(self, *given: torch.Tensor) -> Any:
        return self.function(self, *given)


def _rotated(net: Any, x: torch.Tensor) -> torch.Tensor:
    """As the Llama of Meta's own repository rotates."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * net.turns[: x.shape[1]].unsqueeze(0)).flatten(2)


def _turned_by_angle(net: Any, x: torch.Tensor) -> torch.Tensor:
    turn = torch.polar(torch.ones_like(x), x).unsqueeze(1)
    return torch.view_as_real((turn * net.weights.unsqueeze(0).unsqueeze(0)).squeeze(1))


def _spectral(net: Any, x: torch.Tensor) -> torch.Tensor:
    """As a Fourier neural operator mixes channels."""
    spectrum = torch.fft.rfft(x, dim=-1)
    mixed = torch.einsum("bis,io->bos", spectrum[..., :3], net.weights)
    filled = nn.functional.pad(mixed, (0, spectrum.shape[-1] - 3))
    return torch.fft.irfft(filled + spectrum, n=x.shape[-1], dim=-1)


def _fewer_modes(net: Any, x: torch.Tensor) -> torch.Tensor:
    """A spectrum that the inverse has to fill up."""
    mixed = torch.einsum("bis,io->bos", torch.fft.rfft(x)[..., :3], net.weights)
    return torch.fft.irfft(mixed, n=x.shape[-1])


def _more_modes(net: Any, x: torch.Tensor) -> torch.Tensor:
    """A spectrum that the inverse has to cut, along an axis that is not the last."""
    mixed = torch.einsum("bsi,io->bso", torch.fft.rfft(x, dim=1), net.weights)
    return torch.fft.irfft(mixed, 11, 1)


def _written_modes(net: Any, x: torch.Tensor) -> torch.Tensor:
    """As Fourier neural operators are mostly written: two corners of an empty spectrum."""
    spectrum = torch.fft.rfft2(x)
    filled = torch.zeros(x.shape[0], 4, 8, 5, dtype=torch.cfloat)
    filled[:, :, :3, :2] = torch.einsum("bixy,io->boxy", spectrum[:, :, :3, :2], net.weights)
    filled[:, :, -3:, :2] = torch.einsum("bixy,io->boxy", spectrum[:, :, -3:, :2], net.weights)
    return torch.fft.irfft2(filled, s=(8, 8))


def _per_sample(net: Any, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """As StyleGAN2 modulates: kernels that depend on the sample, a group for each."""
    batch, channels, height, width = x.shape
    kernels = style.reshape(batch * 2, channels, 3, 3)
    found = nn.functional.conv2d(
        x.reshape(1, batch * channels, height, width), kernels, stride=2, padding=1, groups=batch
    )
    return found.reshape(batch, 2, *found.shape[2:])


def _from_mask(net: Any, mask: torch.Tensor) -> torch.Tensor:
    return (1.0 - mask) * -10000.0


ROTATED = torch.rand(2, 5, 8)
KINDS = {
    "complex rotation": (_rotated, [torch.rand(2, 5, 8)], [torch.rand(7, 5, 8)]),
    "complex from polar": (_turned_by_angle, [torch.rand(2, 4)], [torch.rand(5, 4)]),
    "complex einsum and padding": (_spectral, [torch.rand(2, 4, 16)], [torch.rand(3, 4, 16)]),
    "inverse of a short spectrum": (_fewer_modes, [torch.rand(2, 4, 16)], [torch.rand(3, 4, 16)]),
    "inverse of a long spectrum": (_more_modes, [torch.rand(2, 16, 4)], [torch.rand(3, 16, 4)]),
    "spectrum that is written to": (_written_modes, [torch.rand(2, 4, 8, 8)], [torch.rand(3, 4, 8, 8)]),
    "convolution with a group for each sample": (
        _per_sample,
        [torch.rand(2, 3, 9, 8), torch.rand(2, 54)],
        [torch.rand(4, 3, 9, 8), torch.rand(4, 54)],
    ),
    "number minus integers": (_from_mask, [torch.ones(2, 3).long()], [torch.arange(12).reshape(4, 3)]),
}
EXCHANGED = {"unsqueeze", "einsum", "pad", "constant_pad_nd", "conv2d", "polar", "outer", "bmm", "rsub"}


def _program(function: Callable[..., Any], given: list[torch.Tensor]) -> torch.export.ExportedProgram:
    shapes = (({0: ROWS},) * len(given),)
    return torch.export.export(_Calls(function).eval(), tuple(given), dynamic_shapes=shapes, strict=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reworded_program_gives_what_the_model_gives_at_other_sizes_too(kind: str) -> None:
    function, traced, other = KINDS[kind]
    program = _program(function, traced)
    before = program.graph_module.code
    reword(program.graph_module)
    assert program.graph_module.code != before
    for given in (traced, other):
        wanted = function(_Calls(function), *given)
        torch.testing.assert_close(program.module()(*given), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", list(KINDS)[:6])
def test_no_operator_moves_or_multiplies_complex_tensors_afterwards(kind: str) -> None:
    function, traced, _ = KINDS[kind]
    program = _program(function, traced)
    reword(program.graph_module)
    left = {
        node.target._schema.name.removeprefix("aten::")
        for node in program.graph_module.graph.nodes
        if node.op == "call_function"
        and any(_complex(n) for n in node.all_input_nodes)
        and hasattr(node.target, "_schema")
    }
    assert left <= {"view_as_real", "slice", "fft_irfft", "fft_irfft2", "_fft_c2r"}, left


def _complex(node: torch.fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_complex()


def test_a_program_without_such_operators_is_left_alone() -> None:
    def plain(net: Any, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(1.0 - x, torch.ones(2, 3, 3, 3)).relu()

    program = _program(plain, [torch.rand(2, 3, 8, 8)])
    before = program.graph_module.code
    reword(program.graph_module)
    assert program.graph_module.code == before


def test_every_export_inside_is_reworded_and_none_after_it() -> None:
    real = torch.export.export
    with reworded():
        inside = _program(_from_mask, KINDS["number minus integers"][1])
    assert torch.export.export is real
    outside = _program(_from_mask, KINDS["number minus integers"][1])
    assert "to.dtype" in str(inside.graph_module.code)
    assert "to.dtype" not in str(outside.graph_module.code)
