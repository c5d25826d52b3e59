"""The command line: whatever happens, a program that reads it gets one object."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from modelbuild import store
from modelbuild.building import checking
from modelbuild.cli import main as cli
from tests.conftest import TINY, Project


def _answer(capsys: pytest.CaptureFixture[str]) -> Any:
    report = json.loads(capsys.readouterr().out)
    assert (report["schema"], report["ok"], len(report["recipes"])) == (1, False, 1)
    return report["recipes"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "r.yaml", "--format=json", "-j", "0"], "argument -j/--jobs: '0' is not a whole number"),
        (["build", "r.yaml", "--format", "json", "--bogus"], "unrecognized arguments: --bogus"),
        (
            ["build", "r.yaml", "--format=json", "--lock", "--locked"],
            "--locked: not allowed with argument",
        ),
        (["cache", "clear", "--format", "json"], "argument job: invalid choice: 'clear'"),
        (
            ["cache", "gc", "--max-age", "-1d", "--format", "json"],
            "argument --max-age: expected one argument",
        ),
        (["cache", "gc", "--max-size=1XB", "--format", "json"], "argument --max-size: '1XB' is not a size"),
        (["cache", "gc", "--max-size=inf", "--format", "json"], "argument --max-size: 'inf' is not a size"),
    ],
    ids=[
        "jobs",
        "unknown",
        "lock-and-locked",
        "no-such-job",
        "negative-age",
        "no-such-unit",
        "endless",
    ],
)
def test_a_command_line_that_cannot_be_parsed_is_answered_in_json(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert said in _answer(capsys)["diagnostics"][0]["message"]


@pytest.mark.parametrize("command", ["build", "status", "why net.onnx", "check", "graph", "verify", "audit"])
def test_a_command_without_a_recipe_says_both_ways_to_name_one(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command.split(), "--format", "json"]) == 2
    (said,) = _answer(capsys)["diagnostics"]
    assert said["message"] == "no recipe is named, and no project file says which are meant"
    way = 'put `recipes = ["configs"]` into [tool.modelbuild] of pyproject.toml'
    assert said["hint"] == f"name a recipe, a folder or a glob, or {way}"


@pytest.mark.parametrize(
    ("arguments", "usage", "hint"),
    [
        (["biuld"], "modelbuild [-h]", "did you mean `build`?"),
        (["build", "r.yaml", "--lcok"], "modelbuild build [-h]", "did you mean `--lock`?"),
        (["check", "r.yaml", "--fromat=json"], "modelbuild check [-h]", "did you mean `--format`?"),
        (["cache", "stat"], "modelbuild cache [-h]", "did you mean `stats`?"),
        (["diff", "HEAD", "--strct", "--", "-x"], "modelbuild diff [-h]", "did you mean `--strict`?"),
        (
            ["build", "r.yaml", "--bogus"],
            "modelbuild build [-h]",
            "`modelbuild build --help` shows what there is",
        ),
        (["xyzzy"], "modelbuild [-h]", "`modelbuild --help` shows what there is"),
        ([], "modelbuild [-h]", "`modelbuild --help` shows what there is"),
    ],
    ids=["command", "option", "option-with-a-value", "job", "before-dashes", "far", "far-command", "nothing"],
)
def test_a_misspelt_word_is_told_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str], arguments: list[str], usage: str, hint: str
) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usage: {usage}")
    assert said.endswith(f"\nhint: {hint}\n")


@pytest.mark.parametrize(
    ("raised", "code", "codes"),
    [(KeyboardInterrupt(), 130, []), (LookupError("what?"), 1, ["step-failed"])],
    ids=["interrupt", "a-mistake-of-ours"],
)
def test_a_command_that_ends_early_is_answered_in_json(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    code: int,
    codes: list[str],
) -> None:
    def check(_: object) -> None:
        raise raised

    monkeypatch.setattr(checking, "check", check)
    assert cli.main(["check", "r.yaml", "--format", "json"]) == code
    assert [d["code"] for d in _answer(capsys)["diagnostics"]] == codes


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("1K", 1 << 10), ("1.5MiB", 3 << 19), ("20GiB", 20 << 30), ("2TB", 2 << 40)],
)
def test_a_size_is_in_powers_of_1024(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    assert _limits(monkeypatch, "--max-size", text) == (size, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("12h", 43_200), ("30d", 2_592_000), ("0.5w", 302_400)]
)
def test_an_age_has_a_unit_of_time(monkeypatch: pytest.MonkeyPatch, text: str, seconds: float) -> None:
    assert _limits(monkeypatch, "--max-age", text) == (None, seconds)


def _limits(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int | None, float | None]:
    """What a collection is asked for, by a command line."""
    asked: list[tuple[int | None, float | None]] = []

    def collect(cache: store.Store, size: int | None, age: float | None, now: float) -> store.Collected:
        asked.append((size, age))
        return store.Collected(0, 0, 0, 0, 0)

    monkeypatch.setattr(store, "collect", collect)
    assert cli.main(["cache", "gc", *arguments]) == 0
    return asked[0]


@pytest.mark.parametrize("command", ["build", "status", "check", "verify", "audit"])
def test_a_recipe_that_is_not_there_is_told_by_every_command(project: Project, command: str) -> None:
    answer = project.run(command, "nte.yaml", "--format", "json")
    assert answer.code == 2
    assert "nte.yaml" in answer.said("recipe-invalid")


def test_verify_says_that_nothing_is_published(project: Project) -> None:
    answer = project.run("verify", "net.yaml", "--format", "json")
    assert answer.code == 2
    assert answer.said("recipe-invalid") == "nothing to verify: build has no net.fp32.onnx"


@pytest.mark.slow
def test_a_terminal_that_lacks_a_letter_gets_the_rest(project: Project) -> None:
    project.write("net.py", TINY.replace("return self", "raise ValueError('caf\xe9'); return self"))
    project.cold = True
    project.environment["PYTHONIOENCODING"] = "ascii"
    answer = project.run("build", "net.yaml")
    assert answer.code == 1
    assert "ValueError: caf\\xe9" in answer.stdout


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_the_build_and_its_recipe_is_not_ok(project: Project) -> None:
    project.write("net.py", TINY.replace("return self", "import time; time.sleep(60); return self"))
    process = project.start("build", "net.yaml", "--format", "json")
    assert process.stderr is not None
    assert any("reference" in line for line in process.stderr)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGHUP)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 130
    report = json.loads(out)
    assert (report["ok"], report["recipes"][0]["status"]) == (False, "failed")
    assert not Path(project.folder / "build").exists()


def test_bytes_that_rotted_in_the_cache_are_not_published(warm: Project) -> None:
    assert warm.build().code == 0
    good = warm.output("net.fp32.onnx").read_bytes()
    warm.output("net.fp32.onnx").unlink()
    (stored,) = warm.folder.glob("cache/objects/*/*/net.fp32.onnx")
    stored.chmod(0o644)
    stored.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    answer = warm.build()
    assert (answer.code, answer.statuses) == (0, {"net.fp32.onnx": "built"})
    assert "what the cache had as the result of `fp32` is not what was stored" in answer.said("cache-corrupt")
    assert warm.output("net.fp32.onnx").read_bytes() == good
    (aside,) = warm.folder.glob("cache/aside/*/net.fp32.onnx")
    assert aside.read_bytes() != good


def test_a_state_file_that_holds_something_else_is_not_asked(warm: Project) -> None:
    assert warm.build().code == 0
    time.sleep(0.1)
    assert warm.build().code == 0
    (place,) = warm.folder.glob("cache/state/*.json")
    place.write_text(json.dumps({**json.loads(place.read_text()), "answer": {"x": 1}}))
    assert warm.build().statuses == {"net.fp32.onnx": "cached"}
