"""What holds where the command line is silent: variables, then the project file, then our own."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

import modelbuild
from modelbuild import settings
from modelbuild.base.errors import RecipeError
from modelbuild.building.settling import misspelt, settled
from modelbuild.cli import main as cli
from tests.conftest import RECIPE, TINY

TABLE = '[tool.modelbuild]\nout = "dist"\ncache = "store"\njobs = 3\n'
SILENT = {"out": None, "cache_dir": None, "jobs": None, "format": None, "volume": None}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in settings.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _failure(**asked: Any) -> str:
    with pytest.raises(RecipeError) as caught:
        settled(SILENT | asked)
    return "\n".join(d.render() for d in caught.value.diagnostics)


# ---- the project file --------------------------------------------------------------------------


def test_without_anything_the_values_are_our_own(here: Path) -> None:
    assert settled(SILENT) == {
        "out": "build", "cache_dir": "/home/ada/.cache/modelbuild", "jobs": 0, "format": "text", "volume": 0,
    }  # fmt: skip


def test_only_what_is_asked_is_answered(here: Path) -> None:
    assert settled({"format": None}) == {"format": "text"}


def test_the_project_file_comes_before_our_own_values(here: Path) -> None:
    (here / "pyproject.toml").write_text(TABLE)
    found = settled(SILENT)
    assert (found["out"], found["cache_dir"], found["jobs"]) == ("dist", "store", 3)


def test_its_paths_are_relative_to_the_file_and_not_to_the_working_folder(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "pyproject.toml").write_text(TABLE)
    (here / "a/b").mkdir(parents=True)
    monkeypatch.chdir(here / "a/b")
    found = settled(SILENT)
    assert Path(found["out"]).resolve() == here / "dist"
    assert Path(found["cache_dir"]).resolve() == here / "store"


@pytest.mark.parametrize(("path", "meant"), [("/srv/out", "/srv/out"), ("~/out", "/home/ada/out")])
def test_its_paths_may_be_absolute_or_in_the_home(here: Path, path: str, meant: str) -> None:
    (here / "sub").mkdir()
    (here / "pyproject.toml").write_text(f'[tool.modelbuild]\nout = "{path}"\n')
    os.chdir(here / "sub")
    assert settled(SILENT)["out"] == meant


def test_the_nearest_file_with_a_table_counts(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a/b").mkdir(parents=True)
    (here / "pyproject.toml").write_text(TABLE)
    (here / "a/pyproject.toml").write_text('[tool.modelbuild]\nout = "nearer"\n')
    (here / "a/b/pyproject.toml").write_text('[project]\nname = "modelbuild"\n[tool.ruff]\n')
    monkeypatch.chdir(here / "a/b")
    found = settled(SILENT)
    assert Path(found["out"]).resolve() == here / "a/nearer"
    assert found["jobs"] == 0  # files do not add up


@pytest.mark.parametrize(
    "text",
    [
        '[tool.modelbuild]\nout = "dist"', '[ tool . "modelbuild" ]\nout = "dist"',
        '[tool]\nmodelbuild = {out = "dist"}', 'tool.modelbuild.out = "dist"',
        'tool = {modelbuild = {out = "dist"}}', '[tool]\nmodelbuild.out = "dist"',
        '[tool.modelbuild.tolerance]\nfp32 = {rtol = 1}\n[tool.modelbuild]\nout = "dist"',
        'x = """\n[tool.modelbuild]\nout = "no"\n"""\n[tool.modelbuild]\nout = \'dist\' # "no"',
    ],
)  # fmt: skip
def test_the_table_is_found_however_toml_writes_it(here: Path, text: str) -> None:
    (here / "pyproject.toml").write_text(text + "\n")
    assert settled(SILENT)["out"] == "dist"


@pytest.mark.parametrize(
    "text",
    [
        "",
        '[project]\nname = "modelbuild"\n',
        "[tool]\nmodelbuild = 3\n",
        '# [tool.modelbuild]\n# out = "x"\n',
    ],
)
def test_a_file_without_the_table_says_nothing(here: Path, text: str) -> None:
    (here / "pyproject.toml").write_text(text)
    assert settled(SILENT)["out"] == "build"


@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_passed_over_and_never_waited_for(here: Path, kind: Any) -> None:
    kind(here / "pyproject.toml")
    assert settled(SILENT)["out"] == "build"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("outs = 'x'", "pyproject.toml: [tool.modelbuild]: unknown key `outs`\nhint: did you mean `out`?"),
        ("out = 1", "`out` must be text, not `1`"),
        ("out = ''", "`out` is empty"),
        ("cache = ['x']", "`cache` must be text, not a list"),
        ("jobs = 0", "`jobs` must be at least 1, not `0`"),
        ("jobs = true", "`jobs` must be a whole number, not `true`"),
        ("out = x", "pyproject.toml:2:7: not valid TOML: Invalid value\nhint: look for a quote"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(here: Path, text: str, said: str) -> None:
    (here / "pyproject.toml").write_text(f"[tool.modelbuild]\n{text}\n")
    assert said in _failure()


def test_a_file_of_endless_size_is_refused(here: Path) -> None:
    (here / "pyproject.toml").write_bytes(TABLE.encode() + b"#" * settings.MOST_BYTES)
    assert "pyproject.toml: a project file is at most 1 MiB" in _failure()


def test_the_python_functions_heed_it_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "net.yaml").write_text(RECIPE)
    (here / "pyproject.toml").write_text("[tool.modelbuild]\nouts = 1\n")
    with pytest.raises(RecipeError, match="unknown key `outs`"):
        modelbuild.status("net.yaml")
    (here / "pyproject.toml").write_text(TABLE)
    (artifact,) = modelbuild.build("net.yaml", dry_run=True).recipes[0].artifacts
    assert artifact.status == "stale"
    assert not (here / "build").exists()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ('[project]\nname = "x"\n\n[tool.modelbuild]\n# a\nout = "dist"\ncache = "~/.c"\n\n[tool.x]\n', True),
        ('[tool.modelbuild]\nout = "dist"\n[tool.modelbuild.tolerance]\nfp32 = {rtol = 1}\n', True),
        ('[tool.modelbuild]\nout = "dist"\n[tool.modelbuild.tolerances]\n', False),
        ('[tool.modelbuild]\nout = "dist"\njobs = 2\n', True),
        ('[tool.modelbuild]\nout = "dist"\njobs = 0\n', False),
        ('[tool.modelbuild]\nout = "dist" # why\n', False),
        ('[tool.modelbuild]\nout = "a b"\n', False),
        ('[tool.modelbuild]\nout = "a"b"\n', False),
        ('[tool.modelbuild]\nout = "\\u0061"\n', False),
        ('[tool.modelbuild]\nout = ""\n', False),
        ('[tool.modelbuild]\nout = "a"\nout = "b"\n', False),
        ('[tool.modelbuild]\nout = "a"\nouts = "b"\n', False),
        ('x = """\n[tool.modelbuild]\nout = "a"\n"""\n', False),
        ('[tool.modelbuild]\nout = "dist"\n[tool]\nmodelbuild.jobs = 1 # tool\n', False),
        ('[tool.modelbuild]\r\nout = "dist"\r\n', False),
    ],
)  # fmt: skip
def test_a_plain_file_is_read_without_toml_and_means_the_same(here: Path, text: str, plain: bool) -> None:
    (here / "pyproject.toml").write_text(text)
    found = settings._simple(text.encode())
    assert (found is not None) == plain
    if found is not None:
        real = tomllib.loads(text)["tool"]["modelbuild"]
        assert found == {key: real[key] for key in ("out", "cache", "jobs") if key in real}


# ---- the environment ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "option", "meant"),
    [
        ("MODELBUILD_OUT", "there", "out", "there"),
        ("MODELBUILD_CACHE_DIR", "there", "cache_dir", "there"),
        ("MODELBUILD_JOBS", "5", "jobs", 5),
        ("MODELBUILD_FORMAT", "json", "format", "json"),
        ("MODELBUILD_QUIET", "1", "volume", settings.QUIET),
        ("MODELBUILD_VERBOSE", "1", "volume", settings.VERBOSE),
        ("MODELBUILD_VERBOSE", "0", "volume", settings.NORMAL),
    ],
)
def test_a_variable_comes_before_the_project_file_and_after_the_command_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, option: str, meant: object
) -> None:
    (here / "pyproject.toml").write_text(TABLE)
    monkeypatch.setenv(name, value)
    assert settled(SILENT)[option] == meant
    assert settled(SILENT | {option: "given"})[option] == "given"


def test_an_empty_variable_is_none(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = settled(SILENT)
    for name in settings.VARIABLES:
        monkeypatch.setenv(name, "")
    assert settled(SILENT) == before


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MODELBUILD_JOBS", "two", "MODELBUILD_JOBS must be a whole number of 1 or more\nhint: it is `two`"),
        ("MODELBUILD_JOBS", "0", "MODELBUILD_JOBS must be a whole number of 1 or more"),
        ("MODELBUILD_JOBS", "٣", "MODELBUILD_JOBS must be a whole number of 1 or more"),
        ("MODELBUILD_JOBS", "9" * 5000, "MODELBUILD_JOBS must be a whole number of 1 or more"),
        ("MODELBUILD_FORMAT", "xml", "MODELBUILD_FORMAT must be `text` or `json`\nhint: it is `xml`"),
        ("MODELBUILD_QUIET", "yes", "MODELBUILD_QUIET must be 1 or 0\nhint: it is `yes`"),
    ],
)
def test_a_variable_of_another_kind_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert f"error[recipe-invalid]: the environment variable {said}" in _failure()


def test_quiet_and_verbose_at_once_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELBUILD_QUIET", "1")
    monkeypatch.setenv("MODELBUILD_VERBOSE", "1")
    assert "MODELBUILD_QUIET must be 0 or not set beside MODELBUILD_VERBOSE" in _failure()
    assert settled(SILENT | {"volume": settings.VERBOSE})["volume"] == settings.VERBOSE


def test_a_command_is_not_kept_by_variables_of_others(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELBUILD_JOBS", "two")
    (here / "net.yaml").write_text(RECIPE)
    (here / "net.py").write_text(TINY)
    assert cli.main(["check", "net.yaml"]) == 0
    assert cli.main(["build", "net.yaml"]) == 2
    assert "MODELBUILD_JOBS must be" in capsys.readouterr().err


def test_a_program_that_sets_the_format_gets_an_object_whatever_happens(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELBUILD_FORMAT", "json")
    for arguments, code in (
        (["check", "nothing.yaml"], 2),
        (["check", "nothing.yaml", "--format", "text"], 2),
    ):
        assert cli.main(arguments) == code
        assert capsys.readouterr().out.startswith('{\n "schema": 1') == (len(arguments) == 2)
    assert cli.main(["check"]) == 2
    assert capsys.readouterr().out.startswith('{\n "schema": 1')
    with pytest.raises(SystemExit):
        cli.main(["check", "--bogus"])
    assert capsys.readouterr().out.startswith('{\n "schema": 1')


def test_a_misspelt_variable_is_told_and_those_of_others_are_not(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert misspelt(
        {"MODELBUILD_CACHE": "x", "MODELBUILD_SEED": "1", "CACHE_DIR": "x", "MODELBUILD_OUT": "x"}
    ) == {"MODELBUILD_CACHE": "MODELBUILD_CACHE_DIR"}
    (here / "net.yaml").write_text(RECIPE)
    (here / "net.py").write_text(TINY)
    monkeypatch.setenv("MODELBUILD_JOB", "2")
    assert cli.main(["check", "net.yaml"]) == 0
    said = capsys.readouterr()
    assert said.err == "warning: modelbuild knows no variable MODELBUILD_JOB: did you mean MODELBUILD_JOBS?\n"
    assert said.out == "net.yaml: ok\n"


def test_the_help_lists_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in (*settings.VARIABLES, "NO_COLOR", "[tool.modelbuild]"))
