"""kill -9 at any moment, one build or eight at once: the cache verifies and the next build is right.

The models are tiny ONNX files, a new one for each round, so that every action has to run; the
builds, the processes and the signals are real. ``MODELBUILD_KILLS=2000`` asks for more of them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelbuild.graph.runtime import session_of_file
from modelbuild.store import Store, check
from tests.conftest import Project

KILLS = int(os.environ.get("MODELBUILD_KILLS", "200"))
BUILDERS = 8
SINGLE = max(1, KILLS // 10)
ROUNDS = max(1, (KILLS - SINGLE) // BUILDERS)

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

    def finish(self) -> None:
        """The next build: it succeeds, and what it published computes what this round's model does."""
        answer = self.project.build()
        assert answer.code == 0, answer.stdout + answer.stderr
        assert set(answer.statuses.values()) <= {"built", "cached"}
        x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
        for name in ("net.fp32.onnx", "net.fp16.onnx"):
            (y,) = session_of_file(self.project.output(name)).run(None, {"x": x})
            np.testing.assert_allclose(y, x @ self.weights, rtol=1e-2, atol=1e-2, err_msg=name)

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
        self.finish()
        return time.monotonic() - start


@pytest.fixture
def growing(project: Project) -> Growing:
    return Growing(project)


def test_a_build_that_is_killed_at_any_moment_leaves_a_cache_that_the_next_one_can_trust(
    growing: Growing,
) -> None:
    chance = random.Random(0)
    full = growing.seconds()
    for number in range(SINGLE):
        growing.next_model(number)
        process = growing.start()
        time.sleep(chance.uniform(0, full))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        growing.assert_whole()
        growing.finish()
    left_behind(growing.project.folder)


def test_of_eight_builds_at_once_every_one_may_be_killed(growing: Growing) -> None:
    chance = random.Random(1)
    full = growing.seconds()
    for number in range(ROUNDS):
        growing.next_model(number)
        start = time.monotonic()
        builders = [(start + chance.uniform(0, 3 * full), growing.start()) for _ in range(BUILDERS)]
        for moment, process in sorted(builders, key=lambda row: row[0]):
            time.sleep(max(0.0, moment - time.monotonic()))
            process.kill()
            process.communicate()
            growing.assert_whole()
        growing.finish()
    left_behind(growing.project.folder)


def left_behind(folder: Path) -> None:
    """After a build that came to its end, no killed one's work is left."""
    assert list((folder / "cache/work").iterdir()) == []
    assert [p.name for p in (folder / "build/net").iterdir() if p.name.startswith(".")] == []
