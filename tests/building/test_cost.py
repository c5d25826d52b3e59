"""What a command costs grows with its artifacts, no faster, and not at all with their sizes.

Counted are lines of Python that run, which are the same on every machine. Results come into the cache
through the store, as a build puts them there: nothing is exported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.keys import digest, full_key
from modelbuild.base.tensors import Axis, sampled_sizes, traced_sizes
from modelbuild.building import checking, explaining
from modelbuild.building.builds import build, foresee
from modelbuild.building.request import Request, loaded, runs
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Ended, Silent
from modelbuild.changes.review.effects import outlook
from modelbuild.cli.terminal import reasons, summary
from modelbuild.plan.actions import Plan
from modelbuild.plan.planning import plan
from modelbuild.recipe.loading import parse
from modelbuild.store import Entry
from modelbuild.views import drawing, reporting

_PARITY = {
    "passed": True, "evidence": "cpu", "samples": 1, "shapes": [{"batch": 1}], "tolerance": "rtol 0.001",
    "outputs": {"y": {"max_abs": 0.0, "max_rel": 0.0, "relative_l2": 0.0, "cosine": 1.0, "headroom": 2.0}},
}  # fmt: skip


def _recipe(variants: int) -> str:
    static = "".join(f"  - {{batch: {n + 1}}}\n" for n in range(variants))
    return (
        'model: {import: "net:Net"}\ninputs: {x: {shape: [batch, 4]}}\n'
        "dynamic_axes: {batch: {min: 1, opt: 4, max: 5000}}\nprecision: {fp32: {}, fp16: {method: convert}}\n"
        f"static:\n{static}"
    )


def _write(folder: Path, variants: int) -> Request:
    folder.mkdir(parents=True)
    (folder / "r.yaml").write_text(_recipe(variants))
    return Request([str(folder / "r.yaml")], folder / "out", folder / "cache")


def _filled(request: Request) -> Request:
    """With a result for every action in the cache."""
    store = request.store()
    (run,) = runs(request, loaded(request), store)
    judge = Judge(store, store.folder)
    for action in run.plan.actions:
        work = store.workspace()
        for artifact in run.plan.of_action.get(action.id, ()):
            if artifact.action == action.id:
                (work / artifact.name).write_text(action.id)
        known = judge.known(run, action)
        proves = action.step.kind == "verify"
        nodes = [f"node{i}" for i in range(20)]
        data: dict[str, Any] = {"parity": _PARITY} if proves else {}
        data |= {"sources": {"net.py:3 in forward": nodes}} if action.id == "export" else {}
        entry = Entry(full_key(known, {}), store.put(work), known, {}, (), data, 0.1, 1 << 20)
        store.record(digest(known), entry)
        run.ended[action.id] = Ended("cached", entry)
    return request


def _lines(work: Callable[[], object]) -> int:
    """How many lines of Python run; each turn of a loop on one line counts as one."""
    count = 0

    def trace(frame: Any, event: str, arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def _growth(small: int, middle: int, large: int) -> float:
    """What 20 more cost, as a multiple of what 10 more did: 2 if all cost the same, 4 of a square."""
    return (large - middle) / (middle - small)


_COMMANDS: dict[str, Callable[[Request], object]] = {
    "check": checking.check,
    "status": lambda r: reasons.standing(explaining.status(r, Silent()), verbose=True),
    "graph": lambda r: drawing.tree(drawing.draw(r, Silent())),
    "graph --format dot": lambda r: drawing.dot(drawing.draw(r, Silent())),
    "why": lambda r: reasons.render(explaining.why("r.fp16.batch3.onnx", r, Silent()), facts=True),
    "build --dry-run": lambda r: summary.render(foresee(r, Silent())),
}


@pytest.mark.parametrize("fill", [False, True], ids=["never-built", "in-the-cache"])
@pytest.mark.parametrize("command", _COMMANDS)
def test_twice_the_variants_cost_twice_as_much(command: str, fill: bool, tmp_path: Path) -> None:
    costs = []
    for variants in (10, 20, 40):
        request = _write(tmp_path / str(variants), variants)
        request = _filled(request) if fill else request
        _COMMANDS[command](request)  # what is imported is imported
        costs.append(_lines(lambda r=request: _COMMANDS[command](r)))  # type: ignore[misc]
    assert _growth(*costs) < 2.3, costs


def test_a_build_that_finds_everything_and_a_report_cost_twice_as_much_too(tmp_path: Path) -> None:
    builds, reports = [], []
    for variants in (2, 4, 8, 16):  # the first of them imports what is imported once
        request = _filled(_write(tmp_path / str(variants), variants))
        builds.append(_lines(lambda r=request: build(r, Silent())))  # type: ignore[misc]
        assert {a.status for r in build(request, Silent()).recipes for a in r.artifacts} == {"cached"}
        page = tmp_path / f"{variants}.html"
        reports.append(_lines(lambda r=request, p=page: reporting.write(r, p, Silent())))  # type: ignore[misc]
    assert _growth(*builds[1:]) < 2.3, builds
    assert _growth(*reports[1:]) < 2.3, reports


def test_a_changed_opset_of_twice_the_variants_costs_twice_as_much_to_review(tmp_path: Path) -> None:
    costs = []
    for variants in (5, 10, 20, 40):
        old = parse(_recipe(variants), "r.yaml", "r")
        new = parse(f"opset: 19\n{_recipe(variants)}", "r.yaml", "r")
        costs.append(_lines(lambda o=old, n=new: outlook(o, n, (), {})))  # type: ignore[misc]
    assert _growth(*costs[1:]) < 2.3, costs


@pytest.mark.parametrize("high", [10**9, 2**31 - 1])
def test_how_large_an_axis_may_become_costs_nothing(high: int) -> None:
    def made(high: int) -> Plan:
        text = _recipe(3).replace("max: 5000", f"max: {high}")
        return plan(parse(text, "r.yaml", "r"))

    made(5000)
    assert _lines(lambda: made(high)) <= 1.01 * _lines(lambda: made(5000))


def test_thirty_axes_are_sampled_at_once() -> None:
    """Their pairs are looked at once, and not once for each row."""

    def sampled(count: int) -> Callable[[], object]:
        axes = [Axis(f"a{i}", 1 + i % 3, 4, 64 + i) for i in range(count)]
        return lambda: sampled_sizes(axes, traced_sizes(axes))

    assert _lines(sampled(30)) < 6 * _lines(sampled(15))


def test_whose_trouble_an_action_is_is_said_of_each_action_once() -> None:
    made = plan(parse(_recipe(2), "r.yaml", "r"))
    owned = [action for actions in made.owned.values() for action in actions]
    assert sorted(owned) == sorted(a.id for a in made.actions if a.id != "reference")
    assert made.owned["r.fp32.onnx"] == ("export", "fp32", "verify fp32")
    assert made.owned["r.fp16.batch2.onnx"] == ("fp16.batch2", "verify fp16.batch2")
