"""kill -9 at any moment, of a build, of eight at once, of a worker: the cache verifies and the next
build is right.

The models are tiny ONNX files, a new one for each round, so that every action has to run; the
builds, the processes and the signals are real. What a published file must compute, numpy says.
``make faults`` asks for 200 of them, ``MODELBUILD_KILLS=2000`` for more, ``MODELBUILD_SEED=1`` for other
moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelbuild.graph.runtime import session_of_file
from modelbuild.store import Store, check
from tests.conftest import Project

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MODELBUILD_KILLS", "40"))
SEED = int(os.environ.get("MODELBUILD_SEED", "0"))
BUILDERS = 8
ALONE = max(1, KILLS // 20)
WORKERS = max(1, KILLS // 10)
ROUNDS = max(1, (KILLS - ALONE - WORKERS) // BUILDERS)

RECIPE = """\
model: {onnx: net.onnx}
inputs: {x: {shape: [batch, 4]}}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 2, max: 8}}
opset: 18
precision: {fp32: {}, fp16: {method: convert}}
verify: {samples: 2}
"""


class Growing:
    """A project whose model is another one each round, and what it must compute then."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.weights = np.zeros((4, 3), np.float32)
        self.hit: Counter[str] = Counter()  # at which stage the kills found their builds
        project.write("net.yaml", RECIPE)

    def next_model(self, number: int) -> None:
        self.weights = np.random.default_rng(number).standard_normal((4, 3)).astype(np.float32)
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        graph = helper.make_graph(
            [node], "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
            [numpy_helper.from_array(self.weights, "w")],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.save(model, str(self.project.folder / "net.onnx"))

    def start(self) -> subprocess.Popen[str]:
        return self.project.start("build", "net.yaml", "--format", "json")

    def kill(self, process: subprocess.Popen[str]) -> None:
        """Kill a build, and note where it was: what it had said by then tells."""
        process.kill()
        _, said = process.communicate()
        killed = process.returncode == -signal.SIGKILL
        self.hit[("at work" if said else "before") if killed else "after"] += 1

    def finish(self) -> None:
        """The next build: it succeeds, and what it published computes what this round's model does.
        The one after it has nothing to do."""
        answer = self.project.build()
        assert answer.code == 0, answer.stdout + answer.stderr
        assert set(answer.statuses.values()) <= {"built", "cached"}
        x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
        for name in ("net.fp32.onnx", "net.fp16.onnx"):
            (y,) = session_of_file(self.project.output(name)).run(None, {"x": x})
            np.testing.assert_allclose(y, x @ self.weights, rtol=1e-2, atol=1e-2, err_msg=name)
        assert set(self.project.build().statuses.values()) == {"cached"}

    def assert_whole(self) -> None:
        """Nothing in the cache is damaged, and nothing half-written is where users look."""
        checked = check(Store(self.project.folder / "cache"))
        assert checked.damaged == (), checked
        for path in (self.project.folder / "build").glob("net/net.*.onnx"):
            onnx.checker.check_model(str(path), full_check=True)

    def seconds(self) -> float:
        """How long a build takes here."""
        self.next_model(KILLS)
        start = time.monotonic()
        answer = self.project.build()
        assert answer.code == 0, answer.stdout + answer.stderr
        return time.monotonic() - start

    def assert_nothing_left_behind(self) -> None:
        """The next build that works removes what killed ones left; one with nothing to do does not."""
        folder = self.project.folder
        Store(folder / "cache").sweep()
        assert list((folder / "cache/work").iterdir()) == []
        assert [p.name for p in (folder / "build/net").iterdir() if p.name.startswith(".")] == []

    def assert_hit(self, *stages: str) -> None:
        """Of these stages each had its share of the kills; a few runs are too few to tell."""
        if KILLS >= 100:
            for stage in stages:
                assert self.hit[stage] * 20 >= self.hit.total(), self.hit


@pytest.fixture
def growing(project: Project) -> Growing:
    return Growing(project)


def test_a_build_that_is_killed_at_any_moment_leaves_a_cache_that_the_next_one_can_trust(
    growing: Growing,
) -> None:
    chance = random.Random(SEED)
    full = growing.seconds()
    for number in range(ALONE):
        growing.next_model(number)
        process = growing.start()
        # One moment in each part of a build, so that none is left out.
        time.sleep(full * (number + chance.random()) / ALONE)
        growing.kill(process)
        growing.assert_whole()
        growing.finish()
    growing.assert_nothing_left_behind()


def test_of_eight_builds_at_once_every_one_may_be_killed(growing: Growing) -> None:
    chance = random.Random(SEED)
    full = growing.seconds()
    for number in range(ROUNDS):
        growing.next_model(number)
        start = time.monotonic()
        builders = [(start + chance.uniform(0, 2 * full), growing.start()) for _ in range(BUILDERS)]
        for moment, process in sorted(builders, key=lambda row: row[0]):
            time.sleep(max(0.0, moment - time.monotonic()))
            growing.kill(process)
            growing.assert_whole()
        growing.finish()
    growing.assert_nothing_left_behind()
    growing.assert_hit("before", "at work", "after")


def test_a_worker_that_is_killed_fails_its_build_in_a_sentence_and_the_next_one_is_right(
    growing: Growing,
) -> None:
    chance = random.Random(SEED)
    full = growing.seconds()
    for number in range(WORKERS):
        growing.next_model(number)
        process = growing.start()
        time.sleep(chance.uniform(0.2, 1) * full)
        below = _descendants(process.pid)
        if below:
            os.kill(chance.choice(below), signal.SIGKILL)
        out, said = process.communicate(timeout=60)
        assert "Traceback" not in said
        assert process.returncode == 0 or "worker-crashed" in out, out
        growing.hit["crashed" if process.returncode else "too late"] += 1
        growing.assert_whole()
        if number % 4 == 3:
            growing.finish()
    growing.finish()
    growing.assert_nothing_left_behind()
    growing.assert_hit("crashed")


def _descendants(pid: int) -> Sequence[int]:
    """The processes that a process has started, and theirs."""
    try:
        children = [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has ended
        return []
    return [*children, *(n for child in children for n in _descendants(child))]
