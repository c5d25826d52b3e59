"""What is printed for people: in colour or not, little or much, and the sum of several recipes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import ArtifactResult, BuildResult, RecipeResult
from modelbuild.cli import main as cli
from modelbuild.cli.terminal import summary
from modelbuild.wording import colours
from tests.conftest import TINY, Answer, Project

ESCAPE = "\x1b"
DUMB = {"TERM": "dumb"}
NO_COLOR = {"TERM": "xterm", "NO_COLOR": "1"}
COLOUR = {"TERM": "xterm", "NO_COLOR": ""}


def on_a_terminal(project: Project, environment: dict[str, str], *arguments: str) -> str:
    """Everything that a command writes to a terminal, both streams together."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        project.command(*arguments), cwd=project.folder, env={**project.environ(), **environment},
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the last writer is gone
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    process.wait(timeout=60)
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project of two recipes, one of which cannot be built; and what a terminal without colour said."""
    project = Project(tmp_path_factory.mktemp("terminal"))
    project.write("net.py", TINY)
    project.recipe()
    project.write("broken.py", TINY.replace("return self", "raise ValueError('no'); return self"))
    project.recipe(base=(project.folder / "net.yaml").read_text().replace("net:Net", "broken:Net"),
                   name="broken.yaml")  # fmt: skip
    return project, on_a_terminal(project, NO_COLOR, "build", "net.yaml", "broken.yaml")


# ---- colour ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_with_no_color_a_build_on_a_terminal_writes_no_escape_sequence(built: tuple[Project, str]) -> None:
    assert "net.fp32.onnx  built" in built[1]
    assert "export done in" in built[1]  # progress is lines
    assert ESCAPE not in built[1]


@pytest.mark.slow
def test_a_terminal_gets_colour_and_one_that_has_none_does_not(built: tuple[Project, str]) -> None:
    project, _ = built
    said = on_a_terminal(project, COLOUR, "build", "broken.yaml")
    assert f"{ESCAPE}[31mfailed{ESCAPE}[0m" in said
    assert f"{ESCAPE}[1;31merror[reference-failed]:{ESCAPE}[0m broken.yaml:1:9: the model itself" in said
    for environment in (DUMB, NO_COLOR):
        assert ESCAPE not in on_a_terminal(project, environment, "status", "net.yaml", "broken.yaml")
    assert f"{ESCAPE}[32mfresh{ESCAPE}[0m" in on_a_terminal(project, COLOUR, "status", "net.yaml")
    assert f"{ESCAPE}[1;31merror[recipe-invalid]:" in on_a_terminal(project, COLOUR, "check", "nothing.yaml")


@pytest.mark.slow
def test_a_build_with_nothing_to_do_is_coloured_alike_on_both_ways(built: tuple[Project, str]) -> None:
    project, _ = built
    time.sleep(0.04)
    quickly = on_a_terminal(project, COLOUR, "build", "net.yaml")
    assert quickly == "net: 1 artifact cached, nothing to do: build/net\n"
    assert quickly in on_a_terminal(project, COLOUR, "build", "net.yaml", "--only", "*")
    assert ESCAPE not in on_a_terminal(project, NO_COLOR, "build", "net.yaml")


@pytest.mark.slow
def test_a_pipe_gets_no_colour(built: tuple[Project, str]) -> None:
    answer: Answer = built[0].run("status", "net.yaml", "broken.yaml")
    assert ESCAPE not in answer.stdout + answer.stderr


def test_paint_leaves_the_text_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "  a.onnx  built (fresh start)  1 B\n  stale    b.onnx\nerror[x]: a: b\nhint: c\n  cached is a word"
    )
    monkeypatch.setattr(colours, "wanted", lambda _: True)
    painted = colours.painted(text, sys.stdout)
    assert f"a.onnx  {ESCAPE}[32mbuilt{ESCAPE}[0m (fresh start)" in painted
    assert f"{ESCAPE}[1;31merror[x]:{ESCAPE}[0m a: b" in painted
    for code in ("0", "1;31", "2", "32", "33"):
        painted = painted.replace(f"{ESCAPE}[{code}m", "")
    assert painted == text


# ---- quiet and verbose -------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["build", "status", "check", "verify"])
@pytest.mark.slow
def test_quietly_a_good_command_says_nothing(built: tuple[Project, str], command: str) -> None:
    answer = built[0].run(command, "net.yaml", "-q")
    assert (answer.code, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.slow
def test_quietly_errors_are_said_on_standard_error(built: tuple[Project, str]) -> None:
    answer = built[0].run("build", "net.yaml", "broken.yaml", "--quiet")
    assert (answer.code, answer.stdout) == (1, "")
    assert "ValueError: no" in answer.stderr
    assert all(line.startswith(("error[", "hint: ")) for line in answer.stderr.splitlines())


@pytest.mark.slow
def test_an_object_for_programs_is_the_same_whatever_the_volume(built: tuple[Project, str]) -> None:
    project, _ = built
    plain, quiet, verbose = (
        project.run("build", "net.yaml", "--format", "json", *more).stdout for more in ([], ["-q"], ["-v"])
    )
    assert plain == quiet == verbose


@pytest.mark.slow
def test_verbosely_every_table_is_there_and_where_things_are(built: tuple[Project, str]) -> None:
    project, _ = built
    text = (project.folder / "net.yaml").read_text()
    (project.folder / "second.yaml").write_text(text)
    first = project.run("build", "net.yaml", "second.yaml", "-v")
    assert "net.fp32.onnx  cached" in first.stdout
    assert first.stderr.startswith(
        f"artifacts: build\ncache: {project.folder}/cache\nlogs: {project.folder}/cache/logs"
    )
    again = project.run("build", "net.yaml", "second.yaml", "-v")
    assert "second.fp32.onnx  cached" in again.stdout
    assert again.stdout.endswith("\n\n2 recipes: 2 artifacts cached, nothing to do: build\n")
    told = project.run("check", "net.yaml", "-v").stdout
    assert told == "net.yaml: ok\nnet.yaml makes net.fp32.onnx\n"
    assert "cache: " in project.run("status", "net.yaml", "-v").stderr


def test_quiet_and_verbose_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["check", "net.yaml", "-q", "-v"])
    assert "argument -v/--verbose: not allowed with argument -q/--quiet" in capsys.readouterr().err


# ---- the sum -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_build_of_several_recipes_ends_with_its_sum_and_what_failed(built: tuple[Project, str]) -> None:
    last = built[1].rstrip("\n").split("\n\n")[-1].splitlines()
    assert last[-1].startswith("2 recipes: 1 artifact built, 1 failed, in ")
    assert last[-1].endswith(" s: build")
    failed = " ".join(last[:-1])
    assert failed.startswith("failed: broken.yaml: reference-failed: the model itself fails at batch=1: ")


def _artifact(name: str, status: str, *found: Diagnostic) -> ArtifactResult:
    return ArtifactResult(
        name, "onnx", "fp32", {}, status, seconds=float(status == "built"), diagnostics=found
    )


def test_the_sum_counts_artifacts_and_recipes_that_are_wrong() -> None:
    wrong = Diagnostic("parity-failed", "y differs\nby far")
    good = RecipeResult(
        "a.yaml", "a", "ok", (), (_artifact("a.onnx", "cached"), _artifact("b.onnx", "built"))
    )
    made = (_artifact("c.onnx", "failed", wrong, wrong), _artifact("d.onnx", "blocked"))
    bad = RecipeResult("b.yaml", "b", "failed", (), made, exit_code=3)
    invalid = RecipeResult("c.yaml", "c", "failed", (Diagnostic("recipe-invalid", "no"),), exit_code=2)
    text = summary.render(BuildResult((good, bad, invalid)), 12.34)
    assert text.endswith(
        "\n\nfailed: b.yaml: c.onnx: parity-failed: y differs (and 1 more)\n"
        "failed: c.yaml: recipe-invalid: no\n"
        "3 recipes: 1 artifact cached, 1 built, 1 failed, 1 blocked, 1 recipe wrong, in 12.3 s"
    )


def test_the_last_line_says_where_the_files_are() -> None:
    made = tuple(replace(_artifact(f"a.{n}.onnx", "built"), path=f"out/a/a.{n}.onnx") for n in "xy")
    one, other = (RecipeResult(f"{n}.yaml", n, "ok", (), made) for n in "ab")
    assert (
        summary.render(BuildResult((one,)), 1.0).splitlines()[-1] == "a: 2 artifacts built, in 1.0 s: out/a"
    )
    last = summary.render(BuildResult((one, other)), 1.0).splitlines()[-1]
    assert last == "2 recipes: 4 artifacts built, in 1.0 s: out"


def test_what_was_told_when_a_file_was_made_is_told_once() -> None:
    said = Diagnostic("precision-fallback", "3 of 9 nodes stay in fp32", level="info")
    heavy = Diagnostic("fp16-overflow", "values leave fp16's range", level="warning")
    made = RecipeResult("a.yaml", "a", "ok", (said,), (_artifact("a.onnx", "built", heavy),))
    first = summary.render(BuildResult((made,)))
    assert "info[precision-fallback]" in first
    assert "warning[fp16-overflow]" in first
    cached = replace(made, artifacts=(_artifact("a.onnx", "cached", heavy),)).retold()
    assert (
        summary.render(BuildResult((cached,))) == "a: 1 artifact cached, nothing to do, 1 warning (status -v)"
    )
    assert "warning[fp16-overflow]" in summary.render(BuildResult((cached,)), verbose=True)
    partly = replace(made, artifacts=(*cached.artifacts, _artifact("b.onnx", "built", said)))
    text = summary.render(BuildResult((partly,)))
    assert "warning[fp16-overflow]" not in text
    assert "1 warning (status -v)" in text


def test_checked_recipes_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text("model: {import: 'm:N'}\ninputs: {x: {shape: [1]}}\n")
    (tmp_path / "c.yaml").write_text("model: {import: 'm:N'}\n")
    (tmp_path / "m.py").write_text("N = None\n")
    assert cli.main(["check", str(tmp_path)]) == 2
    text = capsys.readouterr().out
    assert text.startswith(f"{tmp_path}/a.yaml: ok\n{tmp_path}/b.yaml: ok\n\n")
    assert text.endswith(
        f"failed: {tmp_path}/c.yaml: recipe-invalid: missing `inputs`\n3 recipes: 2 ok, 1 recipe wrong\n"
    )
