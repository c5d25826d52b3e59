"""What a module keeps from one call to the next."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.base.tensors import TensorSpec
from modelbuild.machine.isolate import in_child
from modelbuild.steps import eager
from modelbuild.steps.model import LiveModel, ModelSource
from modelbuild.steps.state import Snapshot
from modelbuild.trace.recording import Trace

X = (TensorSpec("x", "float32", ("batch", "length")),)


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.grid: Any = None
        self.sizes = [0]
        self.register_buffer("anchors", torch.zeros(1))


class Keeps(nn.Module):
    """A grid that is made once, and again for another length if ``fresh``."""

    def __init__(self, fresh: bool = False) -> None:
        super().__init__()
        self.head, self.fresh = Cell(), fresh

    def forward(self, x: Any) -> Any:
        if self.head.grid is None or (self.fresh and self.head.sizes[0] != x.shape[1]):
            self.head.grid = torch.ones(1, 1) * x.shape[1]
            self.head.sizes[0] = x.shape[1]
        return x + self.head.grid


class Plain(nn.Module):
    def __init__(self, refuses: bool = False) -> None:
        super().__init__()
        self.f, self.refuses = nn.Linear(3, 3), refuses

    def forward(self, x: Any) -> Any:
        return self.f(x) if self.refuses else x + 1


class Slope(nn.Module):
    """It needs gradients inside forward()."""

    def forward(self, x: Any) -> Any:
        x = x.detach().requires_grad_(True)
        return torch.autograd.grad((x * x).sum(), x)[0]


def _live(module: nn.Module) -> LiveModel:
    module.eval().requires_grad_(False)
    return LiveModel(module, ModelSource("a:b"), Path(), Trace.__new__(Trace))


def test_what_a_call_leaves_is_named_and_taken_back() -> None:
    module = Keeps()
    fresh = Snapshot.of(module)
    tried = eager.called(_live(module), ["x"], [torch.zeros(2, 5)])
    assert tried.changed == ("head.grid", "head.sizes")
    fresh.restore()
    assert (module.head.grid, module.head.sizes) == (None, [0])
    assert fresh.changed() == ()


def test_a_buffer_written_or_put_in_place_is_named() -> None:
    module = Keeps()
    before = Snapshot.of(module)
    module.head.anchors.add_(1)
    assert before.changed() == ("head.anchors",)
    before = Snapshot.of(module)
    module.head.anchors = torch.ones(2)
    assert before.changed() == ("head.anchors",)


def test_a_plain_module_leaves_nothing() -> None:
    assert eager.called(_live(Plain()), ["x"], [torch.zeros(2, 3)]).changed == ()


@pytest.mark.parametrize(("module", "keeps"), [(Keeps(), False), (Keeps(True), True), (Plain(), True)])
def test_what_is_kept_and_does_not_fit_is_found(module: nn.Module, keeps: bool) -> None:
    x = [{"x": np.zeros((2, length), np.float32)} for length in (5, 7)]
    assert eager.keeps_to_itself(_live(module), *x) is keeps


def test_what_is_kept_and_does_not_fit_another_length_is_an_error() -> None:
    ranges = {"batch": (1, 4), "length": (3, 5)}
    with pytest.raises(StepError) as caught:
        eager.kept(_live(Keeps()), X, {"batch": 2, "length": 5}, ranges, ["head.grid"])
    (said,) = caught.value.diagnostics
    assert said.code == "stateful-reference"
    assert said.message == (
        "forward() keeps `head.grid` from one call to the next: after a call at batch=2, length=5, "
        "PyTorch gives something else at batch=1, length=3 than a fresh model does"
    )


def test_what_is_kept_and_fits_is_a_warning() -> None:
    ranges = {"batch": (1, 4), "length": (3, 5)}
    (said,) = eager.kept(_live(Keeps(True)), X, {"batch": 2, "length": 5}, ranges, ["head.grid"])
    assert (said.code, said.level) == ("stateful-reference", "warning")
    assert "forward() keeps `head.grid` from one call to the next" in said.message
    assert eager.kept(_live(Keeps()), X, {"batch": 2, "length": 5}, ranges, []) == ()


def _tried(model: LiveModel) -> eager.Tried:
    def refused(error: Exception) -> StepError:
        return StepError(Diagnostic("export-failed", str(error), ""))

    return eager.tried(model, ["x"], [torch.ones(2, 5)], lambda module: nullcontext(), refused)


def test_the_first_call_leaves_this_process_model_as_it_was() -> None:
    model = _live(Keeps())
    assert _tried(model).changed == ("head.grid", "head.sizes")
    assert (model.module.head.grid, model.gradients) == (None, False)  # type: ignore[union-attr]


def test_that_forward_needs_gradients_is_learned_from_the_fork() -> None:
    model = _live(Slope())
    _tried(model)
    assert model.gradients


def test_what_pytorch_refuses_in_the_fork_is_refused_here() -> None:
    with pytest.raises(StepError, match="mat1 and mat2"):
        _tried(_live(Plain(refuses=True)))


def test_a_call_in_a_fork_raises_as_one_here() -> None:
    def fails() -> None:
        raise ValueError("no such luck")

    with pytest.raises(ValueError, match="no such luck"):
        in_child(fails).like_a_call()
    assert in_child(lambda: 3).like_a_call() == 3


CODE = """
import functools
import torch
from torch import nn

CALLS = 0
SEEN = []
TABLE = {"calls": 0}
GRID = None
NOTES = set()

class Tracker:
    def __init__(self):
        self.calls = 0
        self.last = "none"

TRACKER = Tracker()

def make():
    calls = 0
    def count():
        nonlocal calls
        calls += 1
        return calls
    return count

closure = make()

def counter():
    counter.calls += 1
    return counter.calls
counter.calls = 0

def default(kept={"calls": 0}):
    kept["calls"] += 1
    return kept["calls"]

def in_global():
    global CALLS
    CALLS += 1
    return CALLS

def in_list():
    SEEN.append(1)
    return len(SEEN)

def in_dict():
    TABLE["calls"] += 1
    return TABLE["calls"]

def in_object():
    TRACKER.calls += 1
    return TRACKER.calls

@functools.lru_cache
def grid(size):
    return torch.ones(size)

class Net(nn.Module):
    calls = 0
    def __init__(self, count="in_class", rule=None):
        super().__init__()
        self.count, self.rule = count, rule or (lambda calls: 0.0)
        self.own = 0
    def in_class(self):
        Net.calls += 1
        return Net.calls
    def in_module(self):
        self.own += 1
        return self.own
    def forward(self, x):
        count = getattr(self, self.count, None) or globals()[self.count]
        return x + self.rule(count())

class KeepsGrid(nn.Module):
    def forward(self, x):
        global GRID
        if GRID is None:
            GRID = torch.ones(1) * x.shape[1]
        return x + GRID

class Cached(nn.Module):
    def forward(self, x):
        return x + grid(x.shape[1])

class Notes(nn.Module):
    def forward(self, x):
        NOTES.add("slow path")
        return x
"""

COUNTS = {
    "in_class": "kept_nets.Net.calls",
    "in_module": "own",
    "in_global": "kept_nets.CALLS",
    "in_list": "kept_nets.SEEN",
    "in_dict": "kept_nets.TABLE",
    "in_object": "kept_nets.TRACKER.calls",
    "closure": "kept_nets.make.count.calls",
    "counter": "kept_nets.counter.calls",
    "default": "kept_nets.default.kept",
}


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "kept_nets.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("kept_nets")
    del sys.modules["kept_nets"]


def _kept(model: LiveModel) -> tuple[Diagnostic, ...]:
    tried = _tried(model)
    ranges = {"batch": (1, 4), "length": (3, 5)}
    sizes = {"batch": 2, "length": 5}
    return eager.kept(model, X, sizes, ranges, tried.changed, tried.plain)


@pytest.mark.parametrize("count", COUNTS)
def test_a_count_of_calls_is_seen_wherever_it_is_and_taken_back(nets: Any, count: str) -> None:
    model = _live(nets.Net(count, float))
    fresh = Snapshot.of(model.module)
    (first,) = model.call(["x"], [torch.zeros(2, 5)])
    assert fresh.changed() == (COUNTS[count],)
    assert fresh.plain() == fresh.changed()
    fresh.restore()
    assert fresh.changed() == ()
    (again,) = model.call(["x"], [torch.zeros(2, 5)])
    assert torch.equal(first, again)


def _late(calls: int) -> float:
    return float(calls > 500)


def _each_seventh(calls: int) -> float:
    return float(calls % 7 == 0)


@pytest.mark.parametrize(
    ("count", "rule", "later"), [*((c, _late, 999) for c in COUNTS), ("in_class", _each_seventh, 3)]
)
def test_a_count_that_matters_only_later_is_an_error_now(
    nets: Any, count: str, rule: Callable[[int], float], later: int
) -> None:
    with pytest.raises(StepError) as caught:
        _kept(_live(nets.Net(count, rule)))
    (said,) = caught.value.diagnostics
    assert said.code == "stateful-reference"
    assert said.message == (
        f"forward() counts in `{COUNTS[count]}`, and uses it: {later} calls later, PyTorch gives something "
        "else for the same input"
    )


@pytest.mark.parametrize("count", ["in_class", "in_list", "in_module"])
def test_a_count_of_calls_that_changes_nothing_is_no_matter(nets: Any, count: str) -> None:
    assert _kept(_live(nets.Net(count))) == ()


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            lambda nets: nets.Net("in_class", lambda calls: float(calls > 1)),
            "forward() keeps `kept_nets.Net.calls` from one call to the next: a second call with the same "
            "input, at batch=2, length=5, gives something else than a fresh model does",
        ),
        (
            lambda nets: nets.KeepsGrid(),
            "forward() keeps `kept_nets.GRID` from one call to the next: after a call at batch=2, length=5, "
            "PyTorch gives something else at batch=1, length=3 than a fresh model does",
        ),
    ],
)
def test_what_changes_a_later_call_is_an_error(nets: Any, net: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(StepError) as caught:
        _kept(_live(net(nets)))
    (said,) = caught.value.diagnostics
    assert (said.code, said.level, said.message) == ("stateful-reference", "error", message)


def test_caches_by_argument_and_notes_are_no_matter_and_caches_are_emptied_after_a_trace(nets: Any) -> None:
    for module in (nets.Cached(), nets.Notes()):
        model = _live(module)
        fresh = Snapshot.of(module)
        model.call(["x"], [torch.zeros(2, 5)])
        fresh.restore()
        assert nets.grid.cache_info().currsize == 0
        assert _kept(model) == ()
