"""What the loop decides, seen by its reporter: real workers, a real store, small steps."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelbuild.building import builds as building
from modelbuild.building.request import Request
from modelbuild.building.scheduling import crew
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Course, Ended, Nowhere, Options, Run
from modelbuild.building.scheduling.scheduler import Scheduler
from modelbuild.building.scheduling.walking import walk
from modelbuild.machine import memory, toolchain
from modelbuild.plan.actions import Action, Artifact, Plan
from modelbuild.recipe.loading import parse
from modelbuild.recipe.schema import Recipe
from modelbuild.store import Store, Tree
from modelbuild.worker.jobs import Surroundings
from tests.building.scheduling.small_steps import GoingOn, Refusing, Small
from tests.conftest import RECIPE, Project

ROOT = str(Path(__file__).parents[3])
MIB = 1 << 20


class Recorder:
    """A reporter that keeps what it is told, in its order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.statuses: dict[str, str] = {}
        self.codes: dict[str, int] = {}
        self.said: dict[str, list[str]] = {}
        self.counts: list[tuple[int, int]] = []

    def begun(self, course: Course) -> None:
        self.course = course

    def started(self, recipe: str, action: str, why: str | None) -> None:
        self.events.append(("started", action))

    def ended(self, recipe: str, action: str, ended: Ended) -> None:
        self.events.append(("ended", action))
        self.counts.append(self.course.count())
        self.statuses[action] = ended.status
        self.codes[action] = ended.exit_code
        self.said[action] = [d.message for d in ended.diagnostics]

    def told(self, recipe: str, action: str, word: str) -> None:
        pass

    def tick(self) -> None:
        pass

    @property
    def order(self) -> list[str]:
        """Actions as they were started."""
        return [action for what, action in self.events if what == "started"]

    def most_at_once(self, *among: str) -> int:
        """How many of these, or of all, ran at the same time."""
        steps = [
            (1 if what == "started" else -1)
            for what, action in self.events
            if action in (among or self.order) and self.statuses[action] != "cached"
        ]
        return max(itertools.accumulate(steps))


def _recipe(name: str) -> Recipe:
    text = "model: {onnx: x.onnx}\ninputs: {x: {shape: [batch]}}\nstatic: [{batch: 1}]\n"
    return parse(text + "dynamic_axes: {batch: {min: 1, opt: 2, max: 4}}\n", f"{name}.yaml", name)


class Loop:
    """A store, and commands that bring actions to their end in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "cache")

    def identity(self, name: str) -> str:
        return str(self.folder / f"{name}.yaml")

    def run(self, jobs: int, *recipes: Mapping[str, Action], force: bool = False) -> Recorder:
        """Each mapping is a recipe: its actions by name."""
        plans = [Plan(_recipe(f"r{i}"), tuple(a.values()), (), None) for i, a in enumerate(recipes)]
        return self.carry_out(Options(jobs, force=force), *plans)

    def runs(self, *plans: Plan) -> list[Run]:
        around = Surroundings(self.folder, self.folder, self.store.root, self.folder / "build")
        return [Run(p, f"{p.recipe.name}.yaml", around, self.identity(p.recipe.name)) for p in plans]

    def walked(self, *plans: Plan) -> dict[str, str]:
        """How the actions of these stand, as who only reads is told."""
        judge = Judge(self.store, self.store.folder)
        return {action.id: ended.status for run in self.runs(*plans) for action, ended in walk(run, judge)}

    def carry_out(self, options: Options, *plans: Plan) -> Recorder:
        runs = self.runs(*plans)
        recorder = Recorder()
        loop = Scheduler(runs, self.store, options, recorder, Nowhere())
        loop.run()
        loop.remember()
        return recorder

    def remember(self, costs: Mapping[str, tuple[float, int]]) -> None:
        """Have it known what actions of the first recipe cost: seconds and bytes."""
        rows = {
            action: {"facts": {"step": "small"}, "discovered": {}, "seconds": seconds, "peak": peak}
            for action, (seconds, peak) in costs.items()
        }
        self.store.remember(self.identity("r0"), rows)

    def meeting(self, count: int) -> str:
        """A place where ``count`` steps have to be at the same time."""
        place = self.folder / "meeting" / str(count)
        place.mkdir(parents=True, exist_ok=True)
        return str(place)


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    monkeypatch.setattr(crew, "PRELOAD", ())  # these steps need none of the libraries
    return Loop(tmp_path)


def small(*names: str, **knobs: Any) -> dict[str, Action]:
    """Actions that need nothing."""
    return {name: Action(name, Small(name, **knobs)) for name in names}


def after(name: str, *needs: str, **knobs: Any) -> dict[str, Action]:
    return {name: Action(name, Small(name, **knobs), {need: need for need in needs})}


# ---- side by side ------------------------------------------------------------------------------


def test_actions_of_one_recipe_run_side_by_side(loop: Loop) -> None:
    seen = loop.run(2, small("a", "b", meeting=loop.meeting(2)))
    assert seen.statuses == {"a": "built", "b": "built"}


def test_actions_of_several_recipes_run_side_by_side(loop: Loop) -> None:
    meeting = loop.meeting(3)
    seen = loop.run(3, *(small(name, meeting=meeting) for name in "abc"))
    assert seen.statuses == {"a": "built", "b": "built", "c": "built"}


def test_one_job_means_one_at_a_time_over_all_recipes(loop: Loop) -> None:
    seen = loop.run(1, small("a", "b"), small("c", "d"))
    assert set(seen.statuses.values()) == {"built"}
    assert (len(seen.order), seen.most_at_once()) == (4, 1)


def test_each_action_that_ends_is_counted_also_one_that_was_there(loop: Loop) -> None:
    assert loop.run(1, small("a", "b"), small("c")).counts == [(1, 3), (2, 3), (3, 3)]
    assert loop.run(1, small("a", "b"), small("c", "d")).counts == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_needs_another_waits_for_it_and_nothing_else(loop: Loop) -> None:
    meeting = loop.meeting(2)
    seen = loop.run(2, {**small("a"), **after("b", "a", meeting=meeting), **small("c", meeting=meeting)})
    assert seen.statuses == {"a": "built", "b": "built", "c": "built"}
    assert seen.events.index(("ended", "a")) < seen.events.index(("started", "b"))


def test_two_recipes_with_the_same_action_do_it_once(loop: Loop) -> None:
    seen = loop.run(2, small("a"), small("a"))
    assert seen.order == ["a"]
    assert seen.statuses == {"a": "cached"}


# ---- what goes first, and what fits -------------------------------------------------------------


@pytest.mark.parametrize(
    ("slow", "order"),
    [
        pytest.param("c", ["b", "c", "a"], id="a-chain-that-ends-slowly"),
        pytest.param("a", ["a", "b", "c"], id="one-that-is-slow-alone"),
    ],
)
def test_the_longest_chain_goes_first(loop: Loop, slow: str, order: list[str]) -> None:
    loop.remember({name: (9.0 if name == slow else 1.0, MIB) for name in "abc"})
    assert loop.run(1, {**small("a"), **small("b"), **after("c", "b")}).order == order


def test_what_an_action_cost_is_remembered(loop: Loop) -> None:
    loop.run(1, small("a", mebibytes=64))
    row = loop.store.history(loop.identity("r0"))["a"]
    assert 64 * MIB < row["peak"] < 1024 * MIB
    assert 0 < row["seconds"] < 60
    assert loop.run(1, small("a", mebibytes=64)).statuses == {"a": "cached"}
    assert loop.store.history(loop.identity("r0"))["a"] == row


@pytest.mark.parametrize(("room", "at_once"), [(300, 3), (299, 2), (199, 1)])
def test_as_many_run_as_have_room_at_their_recorded_peaks(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, room: int, at_once: int
) -> None:
    monkeypatch.setattr(memory, "available", lambda: room * MIB)
    loop.remember(dict.fromkeys("abc", (1.0, 100 * MIB)))
    meeting = loop.meeting(at_once)
    seen = loop.run(4, small("a", "b", "c", meeting=meeting))
    assert set(seen.statuses.values()) == {"built"}
    assert seen.most_at_once() == at_once


def test_what_fits_nowhere_runs_alone_and_comes_to_an_end(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1)
    seen = loop.run(4, {**small("a", "b"), **after("c", "a", "b")}, small("d"))
    assert set(seen.statuses.values()) == {"built"}
    assert seen.most_at_once() == 1


@pytest.mark.parametrize("there", [True, False], ids=["gpu", "no-gpu"])
def test_a_gpu_does_one_action_at_a_time_and_the_cores_go_on(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    device = toolchain.Gpu("a card", "sm89") if there else None
    monkeypatch.setattr(toolchain, "gpu", lambda: device)
    meeting = loop.meeting(2 if there else 3)
    # With the device, only one of the two comes to the meeting: the other is at work later.
    seen = loop.run(4, {**small("a", "b", gpu=True, meeting=meeting), **small("c", meeting=meeting)})
    assert set(seen.statuses.values()) == {"built"}
    assert seen.most_at_once("a", "b") == (1 if there else 2)


# ---- refused -----------------------------------------------------------------------------------


def _refused(loop: Loop, lasting: bool = True) -> Plan:
    """A dynamic export that is refused, and a variant that can be pinned from it or exported alone."""
    dynamic = {
        "export": Action("export", Refusing(str(loop.folder / "ran"), lasting)),
        **after("fp32", "export"),
    }
    exported = {**small("export fp32.batch1"), **after("fp32.batch1", "export fp32.batch1")}
    pinned = after("fp32.batch1", "fp32")
    of_variant = [{n: replace(a, variant="batch1") for n, a in some.items()} for some in (pinned, exported)]
    artifacts = (
        Artifact("r0.fp32.onnx", "onnx", "fp32", {}, "fp32", None),
        Artifact("r0.fp32.batch1.onnx", "onnx", "fp32", {"batch": 1}, "fp32.batch1", None),
    )
    own = tuple(small("reference batch1").values())
    actions = (*dynamic.values(), *of_variant[0].values())
    return Plan(_recipe("r0"), actions, artifacts, None, tuple(of_variant[1].values()), own)


def _times(loop: Loop) -> int:
    return len((loop.folder / "ran").read_text().splitlines())


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_variant_goes_around_a_refused_export_whose_own_files_fail_as_ever(loop: Loop, jobs: int) -> None:
    seen = loop.carry_out(Options(jobs), _refused(loop))
    assert seen.statuses == {
        "export": "failed", "fp32": "blocked", "export fp32.batch1": "built", "fp32.batch1": "built",
    }  # fmt: skip
    assert (seen.codes["export"], seen.said["export"]) == (1, ["the batch is fixed"])


def test_what_was_refused_is_not_tried_again_and_said_again(loop: Loop) -> None:
    first = loop.carry_out(Options(2), _refused(loop))
    again = loop.carry_out(Options(2), _refused(loop))
    assert again.order == []
    assert again.statuses == {
        "export": "failed", "fp32": "blocked", "export fp32.batch1": "cached", "fp32.batch1": "cached",
    }  # fmt: skip
    assert (again.codes, again.said["export"]) == (first.codes, first.said["export"])
    assert loop.walked(_refused(loop)) == again.statuses
    assert _times(loop) == 1


def test_what_was_refused_is_tried_again_when_forced_or_where_that_may_not_last(loop: Loop) -> None:
    loop.carry_out(Options(2), _refused(loop))
    loop.carry_out(Options(2, force=True), _refused(loop))
    assert _times(loop) == 2
    for _ in range(2):
        seen = loop.carry_out(Options(2), _refused(loop, lasting=False))
        assert seen.statuses["fp32.batch1"] in ("built", "cached")
    assert _times(loop) == 4


def test_what_went_on_for_a_passing_reason_is_used_and_made_again(loop: Loop) -> None:
    trouble = loop.folder / "trouble"
    trouble.touch()
    plan = {"one": Action("one", GoingOn(str(trouble))), **after("two", "one")}
    for _ in range(2):
        seen = loop.run(1, plan)
        assert seen.statuses["one"] == "built"
        assert seen.said["one"] == [
            "`one` went on after what may be gone the next time: MemoryError: no room. "
            "Its result is used and not cached"
        ]
    assert seen.statuses["two"] == "cached"  # it has the same input as before
    trouble.unlink()
    assert loop.run(1, plan).statuses == {"one": "built", "two": "built"}
    seen = loop.run(1, plan)
    assert seen.statuses == {"one": "cached", "two": "cached"}
    assert seen.said["one"] == []


def test_a_refusal_that_cannot_be_written_down_is_a_refusal_all_the_same(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> Tree:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(loop.store, "put", full)
        seen = loop.carry_out(Options(2), _refused(loop))
    assert (seen.statuses["export"], seen.said["export"]) == ("failed", ["the batch is fixed"])
    assert seen.statuses["fp32.batch1"] == "built"
    loop.carry_out(Options(2), _refused(loop))
    assert _times(loop) == 2


def test_a_refused_export_that_no_wanted_file_needs_is_skipped(loop: Loop) -> None:
    for _ in range(2):
        seen = loop.carry_out(Options(2), _refused(loop).only(lambda a: bool(a.axes)))
        assert (seen.statuses["export"], seen.codes["export"]) == ("skipped", 0)
        assert seen.statuses["fp32.batch1"] in ("built", "cached")
    assert _times(loop) == 1
    seen = loop.carry_out(Options(2), _refused(loop))  # and where it is asked for, it fails as ever
    assert (seen.statuses["export"], seen.codes["export"]) == ("failed", 1)
    assert _times(loop) == 1


# ---- only read ----------------------------------------------------------------------------------


def test_a_walk_says_what_a_build_would_run_and_runs_and_writes_nothing(loop: Loop) -> None:
    plan = Plan(
        _recipe("r0"), (*small("a").values(), *after("b", "a").values(), *small("c").values()), (), None
    )
    assert loop.walked(plan) == {"a": "stale", "b": "stale", "c": "stale"}
    assert not loop.store.root.exists()
    loop.run(2, {**small("a"), **after("b", "a")})
    before = sorted(loop.store.root.rglob("*"))
    assert loop.walked(plan) == {"a": "cached", "b": "cached", "c": "stale"}
    assert sorted(loop.store.root.rglob("*")) == before


def test_a_walk_says_of_a_damaged_result_what_a_build_does_and_leaves_it_where_it_is(loop: Loop) -> None:
    loop.run(2, _chain("same", "c"))
    digest = loop.store.history(loop.identity("r0"))["a"]["tree"].rpartition(":")[2]
    (stored,) = loop.store.root.glob(f"objects/*/{digest}/text")
    stored.chmod(0o644)
    stored.write_text("cut")
    plan = Plan(_recipe("r0"), tuple(_chain("same", "c").values()), (), None)
    assert loop.walked(plan) == {"a": "stale", "b": "stale", "c": "stale"}
    assert stored.read_text() == "cut"
    assert loop.run(2, _chain("same", "c")).order == ["a"]
    assert loop.walked(plan) == {"a": "cached", "b": "cached", "c": "cached"}


# ---- made again --------------------------------------------------------------------------------


def _damage(loop: Loop, action: str) -> None:
    digest = loop.store.history(loop.identity("r0"))[action]["tree"].rpartition(":")[2]
    (stored,) = loop.store.root.glob(f"objects/*/{digest}/text")
    stored.chmod(0o644)
    stored.write_text("rotten"[: stored.stat().st_size].ljust(stored.stat().st_size))


def _chain(text: str, last: str) -> dict[str, Action]:
    made = {"a": Action("a", Small(text)), **after("b", "a")}
    return {**made, "c": Action("c", Small(last), {"a": "a"})}


def test_a_damaged_input_is_made_again_and_what_else_came_of_it_stands(loop: Loop) -> None:
    loop.run(2, _chain("same", "c"))
    _damage(loop, "a")
    seen = loop.run(2, _chain("same", "d"))
    assert seen.statuses == {"a": "built", "b": "cached", "c": "built"}
    assert seen.order == ["a", "c"]


def test_what_came_of_a_damaged_input_is_judged_again_if_that_has_other_bytes_now(loop: Loop) -> None:
    loop.run(2, _chain("random", "c"))
    _damage(loop, "a")
    seen = loop.run(2, _chain("random", "d"))
    assert seen.statuses == {"a": "built", "b": "built", "c": "built"}
    assert seen.order[0] == "a"


def test_a_model_is_let_go_and_made_again_when_it_is_needed_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    request = Request(["net.yaml"], cache_dir=project.folder / "cache", jobs=1)
    first = Recorder()
    assert building.build(request, first).ok
    assert first.order.count("model") == 1
    store, recipe = request.store(), str(project.folder / "net.yaml")
    rows = store.history(recipe)
    rows["reference"]["seconds"] = 99.0  # so it goes first, and the export is missed after it
    store.remember(recipe, rows)
    (place,) = store.root.glob(f"objects/*/{rows['export']['tree'].rpartition(':')[2]}")
    for file in place.iterdir():
        file.chmod(0o644)
        file.write_bytes(bytes(file.stat().st_size))
    project.recipe("simplify: false", base=RECIPE.replace("samples: 2", "samples: 3"))
    again = Recorder()
    assert building.build(request, again).ok
    assert again.order == ["model", "reference", "model", "export", "fp32", "verify fp32"]
