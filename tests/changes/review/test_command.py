"""``modelbuild diff`` as a command: its words, its formats, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelbuild.cli import main as cli
from tests.changes.review.repositories import RECIPE, Repo, made


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    repo = made(tmp_path / "repository")
    monkeypatch.chdir(repo.folder)
    monkeypatch.setenv("MODELBUILD_CACHE_DIR", str(tmp_path / "cache"))
    return repo


def test_paths_come_after_dashes(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    repo.write("--format/HEAD.yaml", RECIPE.replace("name: net", "name: odd"))
    repo.edit("max: 8", "max: 16")
    assert cli.main(["diff", "HEAD", "--format", "json", "--", "--format", "HEAD.yaml"]) == 2
    assert "`HEAD.yaml` is in neither revision" in capsys.readouterr().err
    assert cli.main(["diff", "HEAD", "--format", "json", "--", "--format"]) == 0
    assert [r["recipe"] for r in json.loads(capsys.readouterr().out)["recipes"]] == ["--format/HEAD.yaml"]


def test_a_warning_is_no_failure_unless_it_is_asked_for(
    repo: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    repo.edit("relative_l2: 0.01", "relative_l2: 0.02")
    assert cli.main(["diff", "HEAD"]) == 0
    assert "warning[proof-weakened]: net.yaml: a tolerance is loosened" in capsys.readouterr().out
    assert cli.main(["diff", "HEAD", "--strict"]) == 1


def test_a_mistake_in_the_newer_revision_is_exit_code_2_in_each_format(
    repo: Repo, capsys: pytest.CaptureFixture[str]
) -> None:
    repo.edit("opt: 4", "opt: 9")
    for form in ("text", "markdown", "json"):
        assert cli.main(["diff", "HEAD", "--format", form]) == 2
        assert "net.yaml:5:" in capsys.readouterr().out


def test_three_revisions_are_refused(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", "HEAD", "HEAD", "net.yaml"]) == 2
    said = capsys.readouterr().err
    assert "two revisions can be compared, and not 3\nhint: recipes and folders come after `--`" in said


def test_no_revision_gets_the_usage(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["diff", "--", "net.yaml"])
    assert caught.value.code == 2
    assert "the following arguments are required: REV" in capsys.readouterr().err
