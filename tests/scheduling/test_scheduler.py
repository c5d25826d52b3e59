"""What the loop decides, seen by its reporter: real workers, a real store, small steps."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelbuild import building, memory, toolchain
from modelbuild.plan import Action, Plan
from modelbuild.recipe.loading import parse
from modelbuild.request import Request
from modelbuild.scheduling import scheduler
from modelbuild.scheduling.runs import Ended, Options, Run
from modelbuild.scheduling.scheduler import Scheduler
from modelbuild.store import Store
from modelbuild.worker.jobs import Surroundings
from tests.conftest import RECIPE, Project
from tests.scheduling.small_steps import Small

ROOT = str(Path(__file__).parents[2])
MIB = 1 << 20


class Recorder:
    """A reporter that keeps what it is told, in its order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.statuses: dict[str, str] = {}

    def started(self, recipe: str, action: str, why: str | None) -> None:
        self.events.append(("started", action))

    def ended(self, recipe: str, action: str, ended: Ended) -> None:
        self.events.append(("ended", action))
        self.statuses[action] = ended.status

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


class Nobody:
    """A publisher for plans without artifacts."""

    def publish(self, run: Any, artifact: Any) -> bool:
        raise AssertionError("nothing is to be published")


class Loop:
    """A store, and commands that bring actions to their end in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "cache")

    def identity(self, name: str) -> str:
        return str(self.folder / f"{name}.yaml")

    def run(self, jobs: int, *recipes: Mapping[str, Action], force: bool = False) -> Recorder:
        """Each mapping is a recipe: its actions by name."""
        runs = []
        for number, actions in enumerate(recipes):
            name = f"r{number}"
            recipe = parse("model: {onnx: x.onnx}\ninputs: {x: {shape: [1]}}\n", f"{name}.yaml", name)
            around = Surroundings(self.folder, self.folder, self.store.root, self.folder / "build")
            plan = Plan(recipe, tuple(actions.values()), (), None)
            runs.append(Run(plan, f"{name}.yaml", around, self.identity(name)))
        recorder = Recorder()
        loop = Scheduler(runs, self.store, Options(jobs, force=force), recorder, Nobody())
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
    monkeypatch.setattr(scheduler, "PRELOAD", ())  # these steps need none of the libraries
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
    request = Request(["net.yaml"], cache=project.folder / "cache", jobs=1)
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
