"""One step in the command's own process: what a debugger and a profiler see, and what is kept of it."""

from __future__ import annotations

import json
import os
import pstats
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TINY, Answer, Project

IN_PROCESS = ("build", "net.yaml", "--in-process")
STOPPING = TINY.replace("        return", "        breakpoint()\n        return")


def _talk(project: Project, command: list[str], answers: Callable[[int], str]) -> Answer:
    """A session over pipes: what is typed at the prompt with this number."""
    environ = {**project.environ(), "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        ["timeout", "120", *command], cwd=project.folder, env=environ, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(project.folder / "stderr").open("w"),
    )  # fmt: skip
    assert running.stdin is not None
    assert running.stdout is not None
    told, prompts = "", 0
    while word := os.read(running.stdout.fileno(), 1 << 16).decode():
        told += word
        while told.count("(Pdb) ") > prompts:
            running.stdin.write(f"{answers(prompts)}\n")
            running.stdin.flush()
            prompts += 1
    running.stdin.close()
    return Answer(running.wait(), told, (project.folder / "stderr").read_text())


@pytest.mark.cold
@pytest.mark.slow
def test_breakpoint_stops_in_the_model_and_what_came_of_that_is_not_kept(project: Project) -> None:
    project.write("net.py", STOPPING)
    said = _talk(
        project, project.command(*IN_PROCESS, "reference"), lambda n: "p 'rows', len(x)" if n == 0 else "c"
    )
    assert said.code == 0, said.stderr
    assert "net.py(13)forward()" in said.stdout
    assert "('rows', " in said.stdout
    assert "a debugger was at it, in which values can be changed" in said.stdout + said.stderr
    assert "net.fp32.onnx  built" in said.stdout
    (again,) = project.build("--dry-run").artifacts.values()
    assert again["status"] == "stale"
    assert again["reason"].endswith("a debugger was at it, in which values can be changed")


@pytest.mark.cold
@pytest.mark.slow
def test_a_profiler_sees_the_model_and_the_result_is_the_one_that_a_child_makes(
    project: Project, tmp_path: Path
) -> None:
    profile = [sys.executable, "-m", "cProfile", "-o", "out.prof", "-m", "modelbuild"]
    here = subprocess.run(
        [*profile, *IN_PROCESS, "export"], cwd=project.folder, env=project.environ(),
        text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert here.returncode == 0, here.stderr
    seen = {(Path(file).name, name) for file, _, name in pstats.Stats(str(tmp_path / "out.prof")).stats}  # type: ignore[attr-defined]
    assert ("net.py", "forward") in seen
    assert set(project.build().statuses.values()) == {"cached"}
    ours = json.loads(project.run("why", "net.fp32.onnx", "net.yaml", "--format", "json").stdout)
    project.environment["MODELBUILD_CACHE_DIR"] = str(tmp_path / "another")
    assert set(project.build().statuses.values()) == {"built"}
    theirs = json.loads(project.run("why", "net.fp32.onnx", "net.yaml", "--format", "json").stdout)
    assert ours == theirs


def test_a_fresh_action_runs_again_and_an_error_has_its_traceback(warm: Project) -> None:
    assert warm.build().code == 0
    again = warm.run(*IN_PROCESS, "fp32")
    assert "net.yaml: fp32 (in this process)" in again.stderr
    assert "net.yaml: export" not in again.stderr
    warm.write("net.py", TINY.replace("torch.relu(", "torch.rellu("))
    done = warm._done((*IN_PROCESS, "reference"), warm.folder)
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert 'net.py", line 12, in forward' in done.stderr


@pytest.mark.parametrize(
    ("recipes", "arguments", "error"),
    [
        (["net.yaml"], ["exprt"], "no action is called `exprt`\nhint: did you mean `export`?"),
        (["net.yaml"], ["export", "--dry-run"], "--in-process does not go with --dry-run"),
        (["net.yaml", "other.yaml"], ["export"], "`export` is an action of net.yaml and other.yaml"),
    ],
    ids=["unknown", "nothing runs", "several"],
)
def test_what_cannot_run_here_is_refused(
    project: Project, recipes: list[str], arguments: list[str], error: str
) -> None:
    project.recipe(name="other.yaml")
    said = project.run("build", *recipes, "--in-process", *arguments)
    assert said.code == 2
    assert error in said.stderr


def test_a_program_that_reads_the_answer_is_told_that_standard_output_is_shared(project: Project) -> None:
    said = project.run(*IN_PROCESS, "export", "--format", "json")
    assert said.code == 2
    assert "standard output is the step's, too" in said.diagnostics[0]["message"]


@pytest.mark.cold
def test_a_debugger_that_has_begun_is_not_started_again_for_the_seed(project: Project) -> None:
    pdb = [sys.executable, "-m", "pdb", "-m", "modelbuild", *IN_PROCESS, "export"]
    said = _talk(project, pdb, lambda n: "c" if n == 0 else "q")
    assert "call it with PYTHONHASHSEED=0 in the environment" in said.stdout + said.stderr
    assert said.stdout.count("-> ") < 3


@pytest.mark.cold
@pytest.mark.slow
def test_python_m_pdb_stops_at_a_line_of_the_model(project: Project) -> None:
    project.environment["PYTHONHASHSEED"] = "0"
    pdb = [sys.executable, "-m", "pdb", "-m", "modelbuild", *IN_PROCESS, "reference"]
    typed = [f"b {project.folder}/net.py:12", "c", "cl 1", "c"]
    said = _talk(project, pdb, lambda n: typed[n] if n < len(typed) else "q")
    assert "net.py(12)forward()" in said.stdout
    assert "net.fp32.onnx  built" in said.stdout
