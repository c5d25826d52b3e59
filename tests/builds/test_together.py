"""Several builds at the same time: one works, the others wait and take its result."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import TINY, Project

pytestmark = pytest.mark.slow

# Says each time that it is made, where all builds can see it.
COUNTING = TINY.replace(
    "super().__init__()",
    "super().__init__(); import os; os.close(os.open(f'made-{os.getpid()}', os.O_CREAT | os.O_WRONLY))",
)


def _ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, str], str]:
    out, err = process.communicate(timeout=120)
    artifacts = [a for r in json.loads(out)["recipes"] for a in r["artifacts"]]
    return process.returncode, {a["name"]: a["status"] for a in artifacts}, err


def test_of_two_builds_of_one_recipe_one_works_and_the_other_takes_its_result(project: Project) -> None:
    project.write("net.py", COUNTING)
    both = [project.start("build", "net.yaml", "--format", "json") for _ in range(2)]
    answers = [_ended(p) for p in both]
    assert [code for code, _, _ in answers] == [0, 0]
    assert len(list(project.folder.glob("made-*"))) == 1
    assert sorted(s["net.fp32.onnx"] for _, s, _ in answers) == ["built", "cached"]
    (waited,) = (err for _, statuses, err in answers if statuses["net.fp32.onnx"] == "cached")
    assert "is at it; waiting for its result" in waited


def test_builds_of_recipes_that_share_actions_share_the_work(project: Project) -> None:
    project.write("net.py", COUNTING)
    project.recipe("name: other", "precision: {fp32: {}, fp16: {method: convert}}", name="other.yaml")
    both = [project.start("build", recipe, "--format", "json") for recipe in ("net.yaml", "other.yaml")]
    answers = [_ended(p) for p in both]
    assert [code for code, _, _ in answers] == [0, 0]
    assert len(list(project.folder.glob("made-*"))) == 1
    assert (project.folder / "build/other/other.fp16.onnx").is_file()


def test_a_build_that_waits_goes_on_by_itself_when_the_other_is_killed(project: Project) -> None:
    project.write("net.py", TINY.replace("def forward(self, x):", "def forward(self, x):\n" + _SLOW_ONCE))
    first = project.start("build", "net.yaml", "--format", "json")
    _wait_for(project.folder / "slow")
    second = project.start("build", "net.yaml", "--format", "json")
    assert second.stderr is not None
    for line in second.stderr:
        if "waiting for its result" in line:
            break
    first.send_signal(signal.SIGKILL)
    first.communicate()
    code, statuses, _ = _ended(second)
    assert (code, statuses) == (0, {"net.fp32.onnx": "built"})


def test_a_build_that_fails_leaves_nothing_and_the_one_that_waited_says_the_same(project: Project) -> None:
    project.write("net.py", TINY.replace("return self", "raise RuntimeError('no')\n        return self"))
    both = [project.start("build", "net.yaml", "--format", "json") for _ in range(2)]
    assert [_ended(p)[:2] for p in both] == [(1, {"net.fp32.onnx": "failed"})] * 2
    project.write("net.py", TINY)
    assert project.build().statuses == {"net.fp32.onnx": "built"}


_SLOW_ONCE = """\
        import os, time
        try:
            os.close(os.open('slow', os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            time.sleep(60)
        except FileExistsError:
            pass
"""


def _wait_for(path: Path, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)
