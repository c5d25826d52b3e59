"""forward() called once, as a user calls it, before anything is exported.

In a fork: a detector that keeps its grid from one call to the next exports right from a fresh
model, and wrong from one that was called. The export has to meet the fresh one.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelbuild.errors import Diagnostic, ModelbuildError, StepError
from modelbuild.isolate import in_child
from modelbuild.steps import scripts
from modelbuild.steps.model import LiveModel, flatten
from modelbuild.steps.state import Snapshot
from modelbuild.tensors import Sizes, TensorSpec

if TYPE_CHECKING:
    import torch

    from modelbuild.steps.samples import Array

    Prepared = Callable[[torch.nn.Module], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Tried:
    """A call that went well: where its outputs were, and what it left on the model.

    ``places`` are the outputs' again, as TorchScript writes them.
    """

    labels: tuple[str, ...]
    changed: tuple[str, ...]
    gradients: bool
    places: tuple[str, ...] = ()


def tried(
    model: LiveModel,
    names: Sequence[str],
    tensors: Sequence[torch.Tensor],
    prepared: Prepared,
    refused: Callable[[BaseException], StepError],
) -> Tried:
    """Call it in a fork, ``prepared`` for it: what PyTorch cannot run, an exporter only obscures.

    Raises:
        StepError: what ``refused`` makes of PyTorch's error.
    """

    def call() -> Tried:
        try:
            with prepared(model.module):
                return called(model, names, tensors)
        except ModelbuildError:
            raise
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            raise refused(error) from None

    found: Tried = in_child(call).like_a_call()
    if found.gradients:
        model.need_gradients()
    return found


def runs(model: LiveModel, names: Sequence[str], tensors: Sequence[torch.Tensor]) -> bool:
    """Whether a plain call runs; in a fork."""
    return in_child(lambda: called(model, names, tensors)).ok


def called(model: LiveModel, names: Sequence[str], tensors: Sequence[torch.Tensor]) -> Tried:
    """Call it in this process."""
    before = Snapshot.of(model.module)
    result = model.forward(names, tensors)
    places = scripts.places(result) if scripts.is_script(model.module) else ()
    labels = tuple(label for label, _ in flatten(result))
    return Tried(labels, before.changed(), model.gradients, tuple(places))


def kept(
    model: LiveModel,
    inputs: Sequence[TensorSpec],
    traced: Sizes,
    ranges: Mapping[str, tuple[int, int]],
    changed: Sequence[str],
) -> tuple[Diagnostic, ...]:
    """What to say of what a call leaves on the model, ``changed``.

    Raises:
        StepError: ``stateful-reference``: PyTorch itself uses it where it does not fit.
    """
    from modelbuild.steps import samples

    if not changed:
        return ()
    what = ", ".join(f"`{n}`" for n in changed[:4])
    first = samples.random_inputs(inputs, traced, (0, 1))
    for end in (0, 1):
        sizes = {axis: ends[end] for axis, ends in ranges.items()}
        if sizes == dict(traced):
            continue
        then = samples.random_inputs(inputs, sizes, (0, 5))
        if in_child(lambda then=then: keeps_to_itself(model, first, then)).like_a_call():  # type: ignore[misc]
            continue
        here, there = (", ".join(f"{a}={n}" for a, n in s.items()) for s in (traced, sizes))
        raise StepError(
            Diagnostic(
                "stateful-reference",
                f"forward() keeps {what} from one call to the next: after a call at "
                f"{here or 'its shapes'}, PyTorch gives something else at {there or 'the same shapes'} "
                "than a fresh model does",
                "make it in __init__() or anew in each call: an ONNX graph keeps nothing",
            )
        )
    return (
        Diagnostic(
            "stateful-reference",
            f"forward() keeps {what} from one call to the next; the graph is that of a first call",
            "nothing, if that only saves time: an ONNX graph keeps nothing",
            level="warning",
        ),
    )


def keeps_to_itself(model: LiveModel, first: dict[str, Array], then: dict[str, Array]) -> bool:
    """Whether a call on ``then`` gives the same after a call on ``first`` as on a fresh module.

    To be asked in a fork, of a fresh module. What a fresh one refuses says nothing.
    """
    import torch

    from modelbuild.steps import samples

    torch.set_num_threads(1)

    def outputs(arrays: dict[str, Array]) -> list[torch.Tensor]:
        return model.call(list(arrays), samples.as_tensors(arrays))

    fresh = Snapshot.of(model.module)
    try:
        want = outputs(then)
    except Exception:
        return True
    fresh.restore()
    outputs(first)
    try:
        got = outputs(then)
    except Exception:
        return False
    return len(want) == len(got) and all(_same(a, b) for a, b in zip(want, got, strict=True))


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    import torch

    if a.shape != b.shape:
        return False
    if a.is_floating_point() and a.numel():
        floor = 1e-3 * float(a.abs().max())
        return torch.allclose(a.float(), b.float(), rtol=1e-3, atol=floor, equal_nan=True)
    return torch.equal(a, b)
