"""Whether a graph that holds one side of a branch on values is right for inputs that take the other.

A tracer writes down what one input takes. Often the other side makes no difference (a mask that is all
ones need not be applied), or does nothing but complain. So other inputs are looked for at which
PyTorch goes another way, and the graph is compared there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.graph import sources
from modelbuild.machine.isolate import in_child
from modelbuild.steps import concrete, samples
from modelbuild.steps.concrete import Spot
from modelbuild.steps.paths import Exported
from modelbuild.steps.variations import variations

if TYPE_CHECKING:
    import torch

    from modelbuild.steps.samples import Array

_MOST_BYTES = 2**28  # of inputs and outputs that wait to be compared
_MOST_TOLD = 6


@dataclass(frozen=True)
class _Ran:
    """A plain call: its outputs, and what it did at each spot."""

    outs: list[torch.Tensor]
    did: list[Any]


@dataclass(frozen=True)
class _Search:
    """What came of it: how many inputs ran, at which spots one of them went another way than the
    traced input, and the first that does so and is wrong in the graph."""

    tried: int
    moved: frozenset[int] = frozenset()
    wrong: tuple[int, str] | None = None  # a spot, and the input in words


def judged(of: Exported, spots: Sequence[Spot]) -> tuple[tuple[Diagnostic, ...], list[str]]:
    """What to say of the places at which the exported graph's trace took one side, and what is not proven.

    Raises:
        StepError: ``branch-on-values``: for another input, the graph is wrong.
    """
    spots = [s for s in spots if not s.only_checks]
    if not spots:
        return (), []
    ended = in_child(lambda: _search(of, spots))
    search: _Search = ended.value if ended.ok else _Search(0)
    if search.wrong is not None:
        spot, title = search.wrong
        raise StepError(_wrong(of, spots[spot], title))
    left = [s for i, s in enumerate(spots) if i not in search.moved]
    unproven = [f"inputs that go another way at {_at(of, s)}: the graph holds one side alone" for s in left]
    return tuple(_one_sided(of, s, search.tried) for s in left[:_MOST_TOLD]), unproven


def _search(of: Exported, spots: Sequence[Spot]) -> _Search:
    """To be asked in a fork: what a call leaves on the model, and inputs that end the process, stay there."""
    import torch

    torch.set_num_threads(1)
    traced = samples.random_inputs(of.inputs, of.traced, (0, 1))
    first, again = (_called(of, spots, traced) for _ in range(2))
    if first is None or again is None or first.did != again.did:
        return _Search(0)
    moved: set[int] = set()
    waiting: list[tuple[str, list[int], dict[str, Array], _Ran]] = []
    tried = size = 0
    right = None
    others = list(variations(of.inputs, of.traced))
    for number, (title, arrays) in enumerate(others):
        ran = _called(of, spots, arrays)
        if ran is not None:
            tried += 1
            elsewhere = [i for i, s in enumerate(spots) if s.unseen or ran.did[i] != first.did[i]]
            moved |= set(elsewhere)
            if elsewhere and all(o.isfinite().all() for o in ran.outs):
                waiting.append((title, elsewhere, arrays, ran))
                size += sum(a.nbytes for a in arrays.values()) + sum(o.nbytes for o in ran.outs)
        if waiting and (size > _MOST_BYTES or number + 1 == len(others)):
            if right is None:
                right = _agree(of, [(traced, first)]) == [True]
            if not right:
                break  # whatever is wrong with the graph, it is not this
            for good, (said, where, *_) in zip(_agree(of, [w[2:] for w in waiting]), waiting, strict=True):
                if not good:
                    best = min(where, key=lambda i: spots[i].kind != "bool")
                    return _Search(tried, frozenset(moved), (best, said))
            waiting, size = [], 0
    return _Search(tried, frozenset(moved))


def _called(of: Exported, spots: Sequence[Spot], arrays: dict[str, Array]) -> _Ran | None:
    """What PyTorch does with this input; None if it refuses it."""
    try:
        with concrete.while_called(spots) as seen:
            outs = of.model.call(list(arrays), of.tensors(arrays))
    except Exception as error:
        passing.met(error)
        return None
    return _Ran(outs, [seen.at(s) for s in spots])


def _agree(of: Exported, ran: Sequence[tuple[dict[str, Array], _Ran]]) -> list[bool]:
    """Whether the graph gives what PyTorch gave. Where it does not end, the proof will say why."""
    found = of.graph([arrays for arrays, _ in ran])
    if found is None:
        return [True] * len(ran)
    return [of.agrees(r.outs, got) for (_, r), got in zip(ran, found, strict=True)]


def _at(of: Exported, spot: Spot) -> str:
    """``net.py:12``, and where the user's own code led there."""
    place = f"{sources.relative(spot.path, of.model.base)}:{spot.line}"
    if spot.outer is not None:
        path, line = spot.outer
        place += f", called from {sources.relative(path, of.model.base)}:{line}"
    return place


def _words(spot: Spot) -> tuple[str, str, str]:
    """What forward() does there, what of it the graph holds, and what another input does."""
    if spot.kind == "bool":
        on = "a size that values decide" if spot.sized else "values"
        return f"branches on {on}", "side", "takes the other side"
    if spot.kind == "number":
        of = "a size that values decide" if spot.sized else "values"
        return f"makes a Python number of {of}", "number", "gives another number"
    return "takes values out of PyTorch", "result", "gives another result"


def _wrong(of: Exported, spot: Spot, title: str) -> Diagnostic:
    does, what, otherwise = _words(spot)
    return Diagnostic(
        "branch-on-values",
        f"forward() {does} at {_at(of, spot)} (`{spot.text}`), and the torchscript exporter freezes the "
        f"{what} of the traced input: with {title}, PyTorch {otherwise} and the graph is wrong",
        _cure(spot) + "; or say in `values` which inputs there are",
    )


def _one_sided(of: Exported, spot: Spot, tried: int) -> Diagnostic:
    does, what, otherwise = _words(spot)
    return Diagnostic(
        "branch-on-values",
        f"forward() {does} at {_at(of, spot)} (`{spot.text}`), and the graph holds the {what} of the traced "
        f"input alone: none of {tried} other inputs {otherwise}, so that was not compared",
        _cure(spot) + ", unless no real input does",
        level="warning",
    )


def _cure(spot: Spot) -> str:
    if spot.kind == "bool":
        return "write both sides, with torch.where(), or with torch.cond() and `exporter: dynamo`"
    return "keep it a tensor"
