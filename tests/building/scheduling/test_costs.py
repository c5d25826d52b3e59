"""What goes first, and what fits into memory together."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelbuild.building.scheduling.costs import Budget, Costs, heights, peaks_by_kind
from modelbuild.machine.memory import available
from modelbuild.plan.planning import plan
from modelbuild.recipe.loading import parse

GIB = 1 << 30
RECIPE = """\
model: {import: "net:Net"}
inputs: {x: {shape: [batch, 4]}}
dynamic_axes: {batch: {min: 1, opt: 2, max: 8}}
precision: {fp32: {}, fp16: {method: convert}}
"""


def _row(kind: str, seconds: float, peak: int) -> dict[str, object]:
    return {"facts": {"step": kind}, "discovered": {}, "seconds": seconds, "peak": peak}


def test_the_longest_chain_by_recorded_seconds_goes_first() -> None:
    actions = plan(parse(RECIPE, "net.yaml", "net")).actions
    seconds = dict.fromkeys((a.id for a in actions), 1.0)
    slow_export = heights(actions, {**seconds, "export": 9.0})
    slow_reference = heights(actions, {**seconds, "reference": 9.0})
    assert slow_export["export"] == 9 + slow_export["fp32"]
    assert slow_export["export"] > slow_export["reference"]
    assert slow_reference["reference"] > slow_reference["export"]
    assert slow_export["verify fp16"] == 1


def test_an_action_that_never_ran_is_taken_to_need_what_its_kind_needed_elsewhere() -> None:
    recipe = plan(parse(RECIPE, "net.yaml", "net"))
    others = peaks_by_kind([{"export": _row("export", 5, 3 * GIB)}, {"export": _row("export", 5, 2 * GIB)}])
    fresh = Costs.of(recipe, {}, others)
    assert fresh.peaks["export"] == 3 * GIB
    assert fresh.peaks["reference"] == GIB
    assert fresh.host == 3 * GIB
    known = Costs.of(recipe, {"export": _row("export", 7.5, 5 * GIB)}, others)
    assert (known.peaks["export"], known.seconds["export"]) == (5 * GIB, 7.5)


@pytest.mark.parametrize(
    ("need", "running", "free", "admitted"),
    [
        pytest.param(3, [4, 4], 20, True, id="fits"),
        pytest.param(5, [4, 4], 20, False, id="what-runs-has-not-come-to-its-peak"),
        pytest.param(3, [4, 4], 2, False, id="other-processes-took-it"),
        pytest.param(30, [], 2, True, id="alone-it-would-never-fit-better"),
    ],
)
def test_what_fits_beside_what_runs(need: int, running: list[int], free: int, admitted: bool) -> None:
    assert Budget(12, lambda: free).admits(need, running) is admitted


def test_where_nobody_knows_the_memory_nothing_is_held_back() -> None:
    assert Budget(None, lambda: None).admits(1 << 50, [1 << 50])


def test_a_containers_limit_counts_where_it_is_below_the_machines(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 64000 kB\nMemAvailable:   8000 kB\n")
    assert available(meminfo, tmp_path) == 8000 * 1024
    (tmp_path / "memory.max").write_text("4096000\n")
    (tmp_path / "memory.current").write_text("3096000\n")
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 500000\n")
    assert available(meminfo, tmp_path) == 1500000
    (tmp_path / "memory.max").write_text("max\n")
    assert available(meminfo, tmp_path) == 8000 * 1024
    assert available(tmp_path / "none", tmp_path) is None
