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

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, ModelbuildError, Refusal, StepError
from modelbuild.base.tensors import Sizes, TensorSpec
from modelbuild.machine.isolate import in_child
from modelbuild.steps import scripts
from modelbuild.steps.model import LiveModel, flatten
from modelbuild.steps.state import Snapshot

if TYPE_CHECKING:
    import torch

    from modelbuild.steps.samples import Array

    Prepared = Callable[[torch.nn.Module], AbstractContextManager[Any]]

# The next few calls, for what comes round, and far ones, for what comes once.
_LATER = (1, 2, 3, 4, 5, 6, 7, 9, 15, 31, 63, 99, 999, 9_999, 999_999)


@dataclass(frozen=True)
class Tried:
    """A call that went well: where its outputs were, and what it left on the model and in its code.

    ``places`` are the outputs' again, as TorchScript writes them. ``plain`` are those ``changed`` that
    hold only numbers and text.
    """

    labels: tuple[str, ...]
    changed: tuple[str, ...]
    gradients: bool
    places: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()


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
    return Tried(labels, before.changed(), model.gradients, tuple(places), before.plain())


def kept(
    model: LiveModel,
    inputs: Sequence[TensorSpec],
    traced: Sizes,
    ranges: Mapping[str, tuple[int, int]],
    changed: Sequence[str],
    plain: Sequence[str] = (),
) -> tuple[Diagnostic, ...]:
    """What to say of what a call leaves on the model, ``changed``; nothing of ``plain`` that changes nothing.

    Raises:
        Refusal: ``stateful-reference``: PyTorch itself uses it at other sizes, where it does not fit.
        StepError: ``stateful-reference``: it changes what comes of the same input.
    """
    from modelbuild.steps import samples

    if not changed:
        return ()
    what = ", ".join(f"`{n}`" for n in changed[:4])
    first = samples.random_inputs(inputs, traced, (0, 1))
    ends = [{axis: ends[end] for axis, ends in ranges.items()} for end in (0, 1)]
    for sizes in (dict(traced), *(e for e in ends if e != dict(traced))):
        again = sizes == dict(traced)
        then = first if again else samples.random_inputs(inputs, sizes, (0, 5))
        if in_child(lambda then=then: keeps_to_itself(model, first, then)).like_a_call():  # type: ignore[misc]
            continue
        here, there = (", ".join(f"{a}={n}" for a, n in s.items()) for s in (traced, sizes))
        after = f"after a call at {here or 'its shapes'}, PyTorch gives something else at {there} than"
        if again:
            after = f"a second call with the same input{here and f', at {here},'} gives something else than"
        said = f"forward() keeps {what} from one call to the next: {after} a fresh model does"
        raise (StepError if again else Refusal)(_stateful(said))
    counted = in_child(lambda: counts(model, first)).like_a_call()
    if counted is not None:
        name, later = counted
        said = (
            f"forward() counts in `{name}`, and uses it: {later} {'call' if later == 1 else 'calls'} later, "
            "PyTorch gives something else for the same input"
        )
        raise StepError(_stateful(said))
    if set(changed) <= set(plain):
        return ()
    return (
        Diagnostic(
            "stateful-reference",
            f"forward() keeps {what} from one call to the next; the graph is that of a first call",
            "nothing, if that only saves time: an ONNX graph keeps nothing",
            level="warning",
        ),
    )


def _stateful(message: str) -> Diagnostic:
    hint = "make it in __init__() or anew in each call: an ONNX graph keeps nothing"
    return Diagnostic("stateful-reference", message, hint)


def keeps_to_itself(model: LiveModel, first: dict[str, Array], then: dict[str, Array]) -> bool:
    """Whether a call on ``then`` gives the same after a call on ``first`` as on a fresh module.

    To be asked in a fork, of a fresh module. What a fresh one refuses says nothing.
    """
    fresh = Snapshot.of(model.module)
    try:
        want = _outputs(model, then)
    except Exception as error:
        passing.met(error)
        return True
    fresh.restore()
    _outputs(model, first)
    try:
        got = _outputs(model, then)
    except Exception as error:
        passing.met(error)
        return False
    return _agree(want, got)


def counts(model: LiveModel, arrays: dict[str, Array]) -> tuple[str, int] | None:
    """What counts the calls and is used, and how many calls later: those are not made, only counted.

    To be asked in a fork. A count is what grows by as much in each call with the same input.
    """
    fresh, found = Snapshot.of(model.module), []
    for _ in range(3):
        want = _outputs(model, arrays)
        found.append(fresh.numbers())
    for place, (name, now, put) in found[-1].items():
        one, two = (f[place][1] if place in f else now for f in found[:2])
        step = now - two
        if not step or two - one != step:
            continue
        for later in _LATER:
            put(now + later * step)
            try:
                got = _outputs(model, arrays)
            except Exception as error:  # it was no count, but a place in something
                passing.met(error)
                continue
            if not _agree(want, got):
                return name, later
        put(now)
    return None


def _outputs(model: LiveModel, arrays: dict[str, Array]) -> list[torch.Tensor]:
    import torch

    from modelbuild.steps import samples

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return model.call(list(arrays), samples.as_tensors(arrays))


def _agree(want: Sequence[torch.Tensor], got: Sequence[torch.Tensor]) -> bool:
    return len(want) == len(got) and all(_same(a, b) for a, b in zip(want, got, strict=True))


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    import torch

    if a.shape != b.shape:
        return False
    if a.is_floating_point() and a.numel():
        floor = 1e-3 * float(a.abs().max())
        return torch.allclose(a.float(), b.float(), rtol=1e-3, atol=floor, equal_nan=True)
    return torch.equal(a, b)
