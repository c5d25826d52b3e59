"""The reference runs as a user's call does, whatever watches it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import flex_attention

from modelbuild.errors import ProofError
from modelbuild.steps.model import LiveModel, ModelSource
from modelbuild.steps.repeating import self_agreement
from modelbuild.trace.recording import Trace


def cond(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.cond(x.sum() > 0, lambda x: module.f(x).relu(), lambda x: module.f(x) - 1, (x,))


def while_loop(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    from torch._higher_order_ops import while_loop

    _, found = while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (torch.tensor(0), module.f(x)))
    return found


def scan(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    from torch._higher_order_ops import scan

    _, found = scan(lambda carry, row: (carry + row, carry + row), torch.zeros(4), module.f(x))
    return found


def vmap(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.vmap(module.f)(x)


def flex(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    heads = module.f(x).reshape(1, 1, -1, 4)
    return flex_attention(heads, heads, heads)


def gradient(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(module.f(x).square().sum(), x)[0]


def gradient_of_a_weight(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(module.f(x).square().sum(), module.f.weight)[0]


class Net(nn.Module):
    def __init__(self, computed: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.f = nn.Linear(4, 4)
        self.computed = computed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.computed(self, x)


def _live(module: nn.Module) -> LiveModel:
    module.eval().requires_grad_(False)
    return LiveModel(module, ModelSource("a:b"), Path(), Trace.__new__(Trace))


@pytest.mark.parametrize("computed", [cond, while_loop, scan, vmap, flex, gradient, gradient_of_a_weight])
def test_what_a_plain_call_computes_is_the_reference(
    computed: Callable[[nn.Module, torch.Tensor], torch.Tensor],
) -> None:
    x, net = torch.randn(3, 4), Net(computed).requires_grad_(computed is gradient_of_a_weight)
    expected = net(x).detach()
    model = _live(net)
    outs, flops = self_agreement(net, lambda: [t.numpy() for t in model.call(["x"], [x])], {"batch": 3})
    torch.testing.assert_close(torch.from_numpy(outs[0]), expected)
    assert flops > 0


def test_a_model_that_a_call_changes_is_told() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("n", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.n += 1
            return x

    model = _live(Counts())
    with pytest.raises(ProofError, match="calling the model changes `n`"):
        self_agreement(
            model.module, lambda: [t.numpy() for t in model.call(["x"], [torch.ones(2)])], {"batch": 2}
        )
