"""How far a command has come, and what is left of it by what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelbuild.building.scheduling.remaining import Remaining
from modelbuild.building.scheduling.runs import Ended, Left, Run
from modelbuild.plan.actions import Action, Plan
from modelbuild.recipe.loading import parse
from modelbuild.worker.jobs import Surroundings
from tests.building.scheduling.small_steps import Small

RECIPE = "model: {onnx: x.onnx}\ninputs: {x: {shape: [2]}}\n"
HERE = Path("/nowhere")


def _run(name: str, *actions: Action) -> Run:
    plan = Plan(parse(RECIPE, f"{name}.yaml", name), actions, (), None)
    return Run(plan, f"{name}.yaml", Surroundings(HERE, HERE, HERE, HERE), f"{HERE}/{name}.yaml")


def _took(*seconds: float) -> dict[str, Any]:
    """What is remembered of the actions a, b, c, ... of one kind."""
    return {a: {"facts": {"step": "small"}, "seconds": s} for a, s in zip("abc", seconds, strict=False)}


A = Action("a", Small("a"))
B = Action("b", Small("b"), {"a": "a"})
C = Action("c", Small("c"))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("jobs", "seconds"),
    [pytest.param(1, 16, id="one-after-another"), pytest.param(2, 10, id="the-longest-chain"),
     pytest.param(9, 10, id="no-more-than-the-chain-with-many-places")],
)  # fmt: skip
def test_what_is_left_is_the_longest_chain_or_all_of_it_over_the_places(jobs: int, seconds: float) -> None:
    run = _run("net", A, B, C)
    assert Remaining([run], lambda _: _took(4, 6, 6), jobs).left() == Left(seconds, True)


def test_what_runs_counts_from_where_it_is_and_what_has_ended_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, clock = _run("net", A, B, C), Clock()
    remaining = Remaining([run], lambda _: _took(4, 6, 6), 1, clock)
    assert remaining.count() == (0, 3)
    run.running["a"] = object()  # type: ignore[assignment]
    remaining.started(run, "a")
    clock.now = 3.0
    assert remaining.left() == Left(13, True)
    clock.now = 9.0  # it takes longer than it did
    assert remaining.left() == Left(12, True)
    del run.running["a"]
    run.ended = {"a": Ended("failed"), "b": Ended("blocked")}
    assert (remaining.count(), remaining.left()) == ((2, 3), Left(6, True))
    run.ended["c"] = Ended("cached")
    assert (remaining.count(), remaining.left()) == ((3, 3), None)


def test_what_never_ran_takes_as_long_as_others_of_its_kind_or_is_not_known() -> None:
    old, new = _run("old", A), _run("new", A, C)
    memories: dict[str, Any] = {"old": _took(4, 6), "new": {}}
    remaining = Remaining([old, new], lambda run: memories[run.name], 1)
    assert remaining.left() == Left(14, True)  # 4 that are recorded, and twice their mean
    memories["old"] = {"a": {"facts": {"step": "another"}, "seconds": 4.0}}
    assert remaining.left() == Left(4, False)
    memories["old"] = {}
    assert remaining.left() is None
