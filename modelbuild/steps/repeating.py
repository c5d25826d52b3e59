"""A reference must be one: PyTorch has to agree with itself, and no call may change the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, ModelbuildError, ProofError
from modelbuild.base.tensors import Sizes
from modelbuild.steps import watching
from modelbuild.steps.state import Snapshot

if TYPE_CHECKING:
    import torch

    from modelbuild.steps.samples import Array

    Call = Callable[[], list[Array]]


def self_agreement(module: torch.nn.Module, call: Call, sizes: Sizes) -> tuple[list[Array], float]:
    """Run the same input again, with the same and with another seed.

    Returns its outputs and the run's cost in FLOPs. The first call is let pass: models may fill
    caches in it.

    Raises:
        ProofError: ``nondeterministic-reference``, ``stateful-reference``.
    """
    import torch

    fresh = Snapshot.of(module)
    flops = _counted(call)
    if flops is None:
        call()
        flops = _estimated(module, sizes)
    before = _state(module)
    torch.manual_seed(1)
    one = call()
    torch.manual_seed(1)
    two = call()
    torch.manual_seed(2)
    three = call()
    changed = _changed(before, _state(module))
    if changed:
        raise stateful(f"calling the model changes {', '.join(changed[:5])}")
    if not agree(one, two):
        said = "the same input gives another output the second time, with the same seed"
        raise stateful(said, fresh.changed())
    if not agree(one, three):
        torch.manual_seed(1)
        if not agree(one, call()):
            raise stateful("the same input gives another output after some calls", fresh.changed())
        raise ProofError(
            Diagnostic(
                "nondeterministic-reference",
                "PyTorch does not agree with itself on the same input: forward() draws random numbers",
                "look for dropout(training=True), randn or multinomial in forward()",
            )
        )
    return one, flops


def _counted(call: Call) -> float | None:
    """The FLOPs of one call; None where it cannot be counted, whatever becomes of a plain call."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    try:
        with counter:
            call()
    except ModelbuildError:
        raise
    except Exception as error:
        passing.met(error)
        return None
    finally:
        watching.forget()
    return float(counter.get_total_flops())


def _estimated(module: torch.nn.Module, sizes: Sizes) -> float:
    """A multiplication and an addition with every weight, at every place of every axis."""
    weights = sum(p.numel() for p in module.parameters())
    return 2.0 * weights * math.prod(sizes.values())


def stateful(message: str, kept: Sequence[str] = ()) -> ProofError:
    """``kept`` is what calls have left on the model and in its code."""
    return ProofError(keeps(message, kept))


def keeps(message: str, kept: Sequence[str]) -> Diagnostic:
    what = ", ".join(f"`{n}`" for n in kept[:4])
    return Diagnostic(
        "stateful-reference",
        message + (f"; it keeps {what} from one call to the next" if what else ""),
        "keep state out of forward(): an ONNX graph has none",
    )


def _state(module: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """Which tensor is where, and how often it was written."""
    tensors = (*module.named_parameters(), *module.named_buffers())
    return {n: (id(t), t._version) for n, t in tensors}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [f"`{n}`" for n in {**before, **after} if before.get(n) != after.get(n)]


def agree(one: Sequence[Array], two: Sequence[Array]) -> bool:
    """Equal but for what another order of summation gives (1e-5 of the largest value)."""
    import numpy as np

    if len(one) != len(two):
        return False
    for a, b in zip(one, two, strict=True):
        if a.shape != b.shape:
            return False
        if a.dtype.kind != "f":
            if not np.array_equal(a, b):
                return False
        elif a.size and not np.allclose(
            a, b, rtol=1e-5, atol=1e-5 * float(np.max(np.abs(a), initial=0, where=np.isfinite(a))),
            equal_nan=True,
        ):  # fmt: skip
            return False
    return True
