"""A tolerance that moves: the proofs that are there are judged anew, and nothing runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RECIPE, TINY, Answer, Project

ALL = RECIPE + "static: [{batch: 2}]\n"
FIRST = ALL + "precision: {fp32: {}, fp16: {}}\n"
ANOTHER = (
    ALL
    + """\
precision:
  fp32: {tolerance: {rtol: 2.0e-3, atol: 2.0e-4}}
  fp16: {tolerance: {relative_l2: 2.0e-2, outputs: {y: {cosine: 0.99}}}}
"""
)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, built: Project) -> Project:
    made = Project(tmp_path_factory.mktemp("judged"))
    made.take_cache(built)
    made.write("net.py", TINY)
    made.recipe(base=FIRST)
    assert made.build().code == 0
    return made


@pytest.fixture
def project(judged: Project, tmp_path: Path) -> Project:
    shutil.copytree(judged.folder, tmp_path / "copy", symlinks=True)
    copy = Project(tmp_path / "copy")
    assert copy.build().code == 0  # in this folder, too
    _forget(copy)
    return copy


def _forget(project: Project) -> None:
    for log in _logs(project):
        log.unlink()


def _ran(answer: Answer) -> set[str]:
    return set(re.findall(r"^\[\d+/\d+\] net\.yaml: (.+) done in ", answer.stderr, re.MULTILINE))


def _logs(project: Project) -> list[Path]:
    """What workers have written: they open a log for all that they do."""
    return [p for p in (project.folder / "cache").glob("logs/**/*") if p.is_file()]


def _proofs(answer: Answer) -> dict[str, tuple[Any, Any, Any]]:
    return {n: (a["parity"], a["diagnostics"], a["conversion"]) for n, a in answer.artifacts.items()}


def test_another_tolerance_is_judged_without_a_worker_and_as_a_whole_proof_would(project: Project) -> None:
    project.recipe(base=ANOTHER)
    anew = project.build()
    assert anew.code == 0
    assert _ran(anew) == {"verify fp32", "verify fp32.batch2", "fp16", "verify fp16", "verify fp16.batch2"}
    assert _logs(project) == []
    reason = anew.artifacts["net.fp32.onnx"]["reason"]
    assert reason.startswith("proven again: precision.fp32.tolerance.atol: 0.0001 -> 0.0002")
    whole = project.build("--force")
    assert _logs(project) != []
    assert _proofs(anew) == _proofs(whole)
    project.recipe(base=FIRST)
    assert _ran(project.build()) == set()


def test_a_tolerance_that_fails_is_proven_whole_and_says_where(project: Project) -> None:
    project.recipe(base=FIRST.replace("fp32: {}", "fp32: {tolerance: {relative_l2: 1.0e-12}}"))
    answer = project.build()
    assert answer.code == 3
    assert _logs(project) != []
    assert re.search(r"output `y` at batch=\d: .*; element \[\d, \d\]: ", answer.said("parity-failed"))


# One of its values is beyond what a float16 can hold, and is none of its output's.
LOSING = """\
import torch
from torch import nn


class Net(nn.Linear):
    def __init__(self, width=8, bias=True):
        super().__init__(6, 3)

    def forward(self, x):
        large = (x * 1e5).abs().amax(dim=1, keepdim=True)
        return super().forward(x) / 1.001 + (large > 1e3).to(x.dtype)
"""


@pytest.mark.parametrize(
    ("source", "precision"), [(TINY, "fp32"), (TINY, "fp16"), (LOSING, "fp16")],
    ids=["fp32", "fp16", "fp16-that-loses"],
)  # fmt: skip
def test_what_failed_by_a_tolerance_was_measured_all_the_same(
    tmp_path: Path, source: str, precision: str
) -> None:
    """Of a file that has never passed; in half precision with what it loses, as a whole proof says it."""
    project = Project(tmp_path)
    project.write("net.py", source)
    method = "method: convert, " if precision == "fp16" else ""
    asked = "precision: {%s: {%stolerance: {relative_l2: %s}}}"
    project.recipe(asked % (precision, method, "1.0e-12"))
    assert project.build().code == 3
    _forget(project)
    project.recipe(asked % (precision, method, "1.0e-1"))
    anew = project.build()
    assert anew.statuses == {f"net.{precision}.onnx": "cached"}  # the proof alone is new
    assert _logs(project) == []
    assert _proofs(anew) == _proofs(project.build("--force"))
    if source is LOSING:
        assert "values leave fp16's range" in anew.said("fp16-overflow")


def test_what_the_recipes_own_function_accepts_is_asked_again_where_the_function_moves(
    project: Project,
) -> None:
    project.write("near.py", "def near(ours, theirs):\n    return True\n")
    asking = RECIPE.replace("samples: 2", 'samples: 2, function: "near:near"')
    project.recipe(base=asking)
    assert project.build().code == 0
    _forget(project)
    loose = asking + "precision: {fp32: {tolerance: {relative_l2: 5.0e-3}}}\n"
    project.recipe(base=loose)
    assert project.build().code == 0
    assert _logs(project) == []
    project.write("near.py", "def near(ours, theirs):\n    return False\n")
    project.recipe(base=loose.replace("5.0e-3", "6.0e-3"))
    answer = project.build()
    assert answer.code == 3
    assert "`near:near` says False at batch=" in answer.said("parity-failed")


def test_a_proof_that_failed_is_told_as_that_and_not_as_never_built(project: Project) -> None:
    project.recipe(base=FIRST.replace("fp32: {}", "fp32: {tolerance: {relative_l2: 1.0e-12}}"))
    shutil.rmtree(project.folder / "cache", ignore_errors=True)
    assert project.build().code == 3
    artifact = project.run("status", "net.yaml", "--format", "json").artifacts["net.fp32.onnx"]
    assert (artifact["status"], artifact["reason"]) == (
        "stale",
        "to prove again: failed before: parity-failed",
    )
    assert (
        project.build().artifacts["net.fp32.onnx"]["reason"] == "proven again: failed before: parity-failed"
    )
