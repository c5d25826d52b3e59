"""The reference runs as a user's call does, whatever watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import flex_attention

from modelbuild.base.errors import ProofError, StepError
from modelbuild.steps.model import LiveModel, ModelSource
from modelbuild.steps.reference import _kept_apart
from modelbuild.steps.repeating import self_agreement
from modelbuild.steps.samples import Array
from modelbuild.steps.state import Snapshot
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


class Switches(nn.Module):
    """Another model after so many calls."""

    calls = 0

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Switches.calls += 1
        return x * (2 if Switches.calls > self.after else 1)


class Grid(nn.Module):
    grid: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.grid is None:
            self.grid = torch.arange(x.shape[1])
        return x + self.grid


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (2, "the same input gives another output the second time, with the same seed"),
        (3, "the same input gives another output after some calls"),
    ],
)
def test_what_a_class_keeps_is_named_where_it_changes_the_output(
    after: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Switches, "calls", 0)
    model = _live(Switches(after))
    with pytest.raises(ProofError) as caught:
        self_agreement(
            model.module, lambda: [t.numpy() for t in model.call(["x"], [torch.ones(2)])], {"batch": 2}
        )
    (told,) = caught.value.diagnostics
    assert told.code == "stateful-reference"
    assert told.message == f"{said}; it keeps `{__name__}.Switches.calls` from one call to the next"


def test_a_size_that_fails_only_after_a_call_at_another_is_state_and_not_the_size() -> None:
    model = _live(Grid())

    def call(arrays: Mapping[str, Array]) -> list[Array]:
        return [t.numpy() for t in model.call(["x"], [torch.from_numpy(arrays["x"])])]

    fresh = Snapshot.of(model.module)
    _kept_apart(call, {"x": np.ones((1, 4), np.float32)}, fresh)
    with pytest.raises(StepError) as caught:
        _kept_apart(call, {"x": np.ones((1, 5), np.float32)}, fresh)
    (said,) = caught.value.diagnostics
    assert said.code == "stateful-reference"
    assert said.message.startswith(
        "PyTorch fails after a call at other sizes, and not on a fresh model: RuntimeError: The size of "
    )
    assert said.message.endswith("; it keeps `grid` from one call to the next")


def test_a_size_that_a_fresh_model_refuses_too_is_the_models_own_error() -> None:
    model = _live(Grid())

    def call(arrays: Mapping[str, Array]) -> list[Array]:
        if arrays["x"].shape[1] % 2:
            raise ValueError("even lengths alone")
        return [t.numpy() for t in model.call(["x"], [torch.from_numpy(arrays["x"])])]

    fresh = Snapshot.of(model.module)
    _kept_apart(call, {"x": np.ones((1, 4), np.float32)}, fresh)
    with pytest.raises(ValueError, match="even lengths alone"):
        _kept_apart(call, {"x": np.ones((1, 5), np.float32)}, fresh)
