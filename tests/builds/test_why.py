"""What is fresh, what is stale and why: told from recorded facts, without the model's code."""

from __future__ import annotations

import json

import pytest

from tests.conftest import RECIPE, TINY, VARIANTS, Project

BOTH = VARIANTS[0]


@pytest.fixture
def built(warm: Project) -> Project:
    warm.recipe(BOTH)
    assert warm.build().code == 0
    return warm


def _status(project: Project) -> dict[str, tuple[str, str | None]]:
    answer = project.run("status", "net.yaml", "--format", "json")
    assert answer.code == 0
    return {name: (a["status"], a["reason"]) for name, a in answer.artifacts.items()}


def test_status_says_fresh_or_stale_for_each_artifact_and_builds_nothing(built: Project) -> None:
    assert _status(built) == {"net.fp32.onnx": ("fresh", None), "net.fp16.onnx": ("fresh", None)}
    built.output("net.fp16.onnx").unlink()
    built.recipe("precision: {fp32: {tolerance: {rtol: 0.01}}, fp16: {method: convert}}")
    moved = _status(built)
    assert moved["net.fp16.onnx"] == ("stale", "its file was missing")
    status, reason = moved["net.fp32.onnx"]
    assert status == "stale"
    assert reason is not None
    assert reason.startswith("to prove again: precision.fp32.tolerance.atol: ")
    assert not built.output("net.fp16.onnx").exists()
    assert built.run("status", "net.yaml").stdout.splitlines()[2] == (
        "  stale    net.fp16.onnx  its file was missing"
    )


def test_status_of_what_was_never_built_and_of_a_wrong_recipe(project: Project) -> None:
    assert _status(project) == {"net.fp32.onnx": ("stale", "never built")}
    project.write("net.yaml", RECIPE.replace("dynamic_axes", "dynamic_axis"))
    wrong = project.run("status", "net.yaml")
    assert wrong.code == 2
    assert "unknown key `dynamic_axis`" in wrong.stdout


@pytest.mark.parametrize(
    ("code", "edited"),
    [
        ("import-failed", 'raise RuntimeError("the factory is closed")\n'),
        ("export-failed", TINY.replace("torch.relu(", "torch.relu(self.gone + ")),
    ],
)
def test_status_of_what_has_only_failed_says_so_while_the_code_is_what_failed(
    project: Project, code: str, edited: str
) -> None:
    project.write("net.py", edited)
    assert project.build().code == 1
    assert _status(project) == {"net.fp32.onnx": ("stale", f"failed before: {code}")}
    project.write("net.py", edited + "# looked at\n")
    assert _status(project) == {"net.fp32.onnx": ("stale", "never built")}


def test_why_names_the_definition_that_was_edited_and_what_waits_for_it(built: Project) -> None:
    built.write("net.py", TINY.replace("torch.relu", "torch.tanh"))
    answer = built.run("why", "net.fp16.onnx", "net.yaml")
    assert answer.code == 0
    assert answer.stdout.splitlines() == [
        "net.fp16.onnx is stale",
        "  reference  net.py:Net changed",
        "  export     net.py:Net changed",
        "  then, unless the same bytes come out: fp32, fp16, verify fp16",
    ]


def test_why_tells_everything_that_moved_and_runs_none_of_the_models_code(built: Project) -> None:
    built.write("net.py", "raise SystemExit('the model ran')\n" + TINY)
    built.recipe(BOTH, "opset: 17", "exporter: torchscript")
    answer = built.run("why", "net.fp32.onnx", "net.yaml", "--format", "json")
    assert answer.code == 0
    assert "the model ran" not in answer.stdout + answer.stderr
    why = json.loads(answer.stdout)
    export = next(a for a in why["actions"] if a["action"] == "export")
    assert export["changes"] == [
        "exporter changed: auto -> torchscript",
        "opset changed: 18 -> 17",
        "net.py changed",
    ]
    assert why["status"] == "stale"


def test_why_of_what_is_fresh_says_so_and_its_facts_can_be_printed(built: Project) -> None:
    answer = built.run("why", "net.fp32.onnx", "net.yaml", "--facts")
    lines = answer.stdout.splitlines()
    assert lines[0] == "net.fp32.onnx is fresh: nothing moved since it was built"
    assert "  opset = 18" in lines
    assert any(line.startswith("  package torch = 2.") for line in lines)
    assert any(line.startswith("  file net.py = sha256:") for line in lines)
    assert not any("modelbuild/" in line for line in lines)


def test_why_of_an_artifact_that_no_recipe_makes_offers_the_nearest(built: Project) -> None:
    answer = built.run("why", "net.fp16.onx", "net.yaml")
    assert answer.code == 2
    assert "no recipe here makes `net.fp16.onx`" in answer.stderr
    assert "did you mean `net.fp16.onnx`?" in answer.stderr


def test_a_dry_run_of_a_build_that_would_only_put_a_file_back_says_so(built: Project) -> None:
    built.output("net.fp32.onnx").write_bytes(b"scribble")
    dry = built.build("--dry-run")
    assert dry.statuses == {"net.fp32.onnx": "stale", "net.fp16.onnx": "cached"}
    assert dry.artifacts["net.fp32.onnx"]["reason"] == "its file was changed"
    assert built.output("net.fp32.onnx").read_bytes() == b"scribble"
