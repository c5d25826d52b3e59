"""What is said to GitHub Actions, and what must not be said there."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import ArtifactResult, BuildResult, RecipeResult
from modelbuild.cli import main as cli
from modelbuild.cli.terminal import github
from tests.conftest import RECIPE

HOSTILE = (
    "x\n::set-output name=a::b\r::add-mask::c\r\n \t::stop-commands::d\n\u2003::error::e ##[add-mask]f %0A::g"
)

# As the runner finds them: the first after trimming, the second anywhere.
_NEW = re.compile(r"\s*::(?P<name>[\w-]+)(?: (?P<properties>.*?))?::(?P<message>.*)", re.DOTALL)


def commands(log: str) -> list[dict[str, str]]:
    """What the runner takes a log's lines for, if it takes them for commands; everything unescaped."""
    found = []
    for line in re.split(r"\r\n|\r|\n", log):
        assert "##[" not in line, line
        if match := _NEW.fullmatch(line):
            pairs = (p.split("=", 1) for p in (match["properties"] or "").split(",") if p)
            row = {name: unquote(value) for name, value in pairs}
            found.append({"kind": match["name"], "said": unquote(match["message"]), **row})
    return found


@pytest.fixture
def actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A step of GitHub Actions in a workspace, with a recipe in a folder of it."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setenv("MODELBUILD_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "net.yaml").write_text(RECIPE)
    (folder / "net.py").write_text("Net = None\n")
    monkeypatch.chdir(folder)
    return folder


def test_a_mistake_in_a_recipe_is_shown_at_its_line(
    actions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (actions / "net.yaml").write_text(RECIPE + "opsets: 17\n")
    assert cli.main(["check", "net.yaml"]) == 2
    printed = capsys.readouterr()
    assert commands(printed.err) == [
        {
            "kind": "error",
            "file": "models/net.yaml",
            "line": "6",
            "col": "1",
            "title": "recipe-invalid",
            "said": "unknown key `opsets`\nhint: did you mean `opset`?",
        }
    ]
    assert commands(printed.out) == []
    assert "error[recipe-invalid]: net.yaml:6:1: unknown key" in printed.out  # and still for people


def test_json_on_standard_output_stays_one_object(actions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "a##[add-mask]b"
    (actions / "net.yaml").write_text(RECIPE + f'"{name}": 1\n')
    assert cli.main(["check", "net.yaml", "--format", "json"]) == 2
    printed = capsys.readouterr()
    assert "##[" not in printed.out
    assert name in json.loads(printed.out)["recipes"][0]["diagnostics"][0]["message"]
    assert [c["title"] for c in commands(printed.err)] == ["recipe-invalid"]


def test_elsewhere_nothing_is_annotated(
    actions: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    (actions / "net.yaml").write_text(RECIPE + "opsets: 17\n")
    assert cli.main(["check", "net.yaml"]) == 2
    printed = capsys.readouterr()
    assert "::" not in printed.out + printed.err


def test_what_is_wrong_with_the_command_line_is_annotated_too(
    actions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "nothing.yaml"]) == 2
    (found,) = commands(capsys.readouterr().err)
    assert (found["title"], found["said"].partition("\n")[0]) == (
        "recipe-invalid",
        "no such recipe: `nothing.yaml`",
    )


@pytest.mark.parametrize("command", ["check", "status", "build"])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("\n::add-mask::x.yaml", id="a-line"),
        pytest.param("\r::stop-commands::x.yaml", id="a-carriage-return"),
        pytest.param("a ##[add-mask]x.yaml", id="the-old-way"),
        pytest.param("%0A::error::x.yaml", id="escaped"),
        pytest.param("a,line=1,title=b::c.yaml", id="properties"),
    ],
)
def test_a_file_name_becomes_no_command(
    actions: Path, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    (actions / name).write_text(RECIPE + "bad: 1\n")
    assert cli.main([command, "."]) == 2
    printed = capsys.readouterr()
    assert commands(printed.out) == []
    found = commands(printed.err)
    assert {(c["kind"], c["title"]) for c in found} == {("error", "recipe-invalid")}
    assert {c["file"] for c in found} == {f"models/{name}"}
    assert any("unknown key `bad`" in c["said"] for c in found)


def test_a_message_from_a_model_stays_one_command(actions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Diagnostic("export-failed", HOSTILE, HOSTILE, where=HOSTILE)
    artifact = ArtifactResult("net.fp32.onnx", "onnx", "fp32", {}, "failed", diagnostics=(found,))
    github.tell(BuildResult((RecipeResult("net.yaml", "net", "failed", (), (artifact,), 1),)))
    (said,) = commands(capsys.readouterr().err)
    assert {k: v for k, v in said.items() if k != "said"} == {
        "kind": "error",
        "file": "models/net.yaml",
        "title": "export-failed",
    }
    assert "::stop-commands::d" in said["said"]


def test_levels_have_their_kinds_and_more_than_are_shown_are_counted(
    actions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("net.yaml", Diagnostic("c", f"{level} {i}", level=level))
            for level in ("info", "warning", "error") for i in range(12)]  # fmt: skip
    github.annotate([*rows, *rows])
    found = commands(capsys.readouterr().err)
    assert [c["kind"] for c in found] == ["error"] * 10 + ["warning"] * 10 + ["notice"] * 10
    assert found[9]["said"] == "and 3 more of this kind: the log has them"


def test_a_long_message_is_cut(actions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    github.annotate([("net.yaml", Diagnostic("c", "x" * 100_000))])
    assert len(capsys.readouterr().err) < 4200


@pytest.mark.parametrize(
    ("where", "file", "line"),
    [
        pytest.param("net.yaml:3:9", "models/net.yaml", "3", id="line-and-column"),
        pytest.param("net.py:7", "models/net.py", "7", id="another-file"),
        pytest.param("/layers.0/Gemm", "models/net.yaml", None, id="a-node"),
        pytest.param(None, "models/net.yaml", None, id="nowhere"),
        pytest.param("\0:3", "models/net.yaml", None, id="no-path"),
    ],
)
def test_a_place_is_a_file_of_the_repository(
    actions: Path, capsys: pytest.CaptureFixture[str], where: str | None, file: str, line: str | None
) -> None:
    github.annotate([("net.yaml", Diagnostic("c", "said", where=where))])
    (found,) = commands(capsys.readouterr().err)
    assert (found["file"], found.get("line")) == (file, line)


@pytest.mark.parametrize("pieces", [[HOSTILE], list(HOSTILE), re.split(r"(?<=:)", HOSTILE)])
def test_nothing_that_is_printed_becomes_a_command(
    actions: Path, monkeypatch: pytest.MonkeyPatch, pieces: list[str]
) -> None:
    streams = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    with github.guarded(json=False):
        for stream in (sys.stdout, sys.stderr):
            for piece in pieces:
                print(piece, end="", file=stream, flush=len(piece) > 3)
    for stream in streams:
        assert commands(stream.getvalue()) == []
        assert "add-mask" in stream.getvalue()  # it is shown all the same
    assert (sys.stdout, sys.stderr) == streams


def test_a_build_leaves_a_table_in_the_summary_of_its_step(actions: Path, tmp_path: Path) -> None:
    parity = {"outputs": {"y": {"headroom": 4.971}}}
    artifacts = (
        ArtifactResult("net.fp32.onnx", "onnx", "fp32", {}, "built", bytes=2048, parity=parity),
        ArtifactResult("net.fp16.onnx", "onnx", "fp16", {}, "failed"),
    )
    bad = Diagnostic("recipe-invalid", "a | b <img src=x> @all [x](y) `c`")
    recipes = (
        RecipeResult("models/net.yaml", "net", "ok", (), artifacts),
        RecipeResult("a|b<script>\n.yaml", "bad", "failed", (bad,), (), 2),
    )
    github.summarise(BuildResult(recipes))
    github.summarise(BuildResult(recipes[:1]))
    text = (tmp_path / "summary.md").read_text()
    first, second = text.split("### modelbuild: ")[1:]
    assert first.startswith("2 recipes, 2 artifacts, **1 failed**\n")
    assert second.startswith("1 recipe, 2 artifacts\n")
    rows = [line for line in first.splitlines() if line.startswith("| net ")]
    assert rows[0].startswith("| net | net&#46;fp16&#46;onnx | failed |")
    assert rows[1] == "| net | net&#46;fp32&#46;onnx | built | 2&#46;0 KiB | x4&#46;97 |"
    assert not re.search(r"[<>@`\[\]]|\w\|\w", first)


def test_a_summary_that_cannot_be_written_stops_nothing(
    actions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(actions))
    github.summarise(BuildResult((RecipeResult("net.yaml", "net", "ok"),)))
