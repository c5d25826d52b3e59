"""Completion in a real bash, through the functions that it calls for a Tab."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from modelbuild.cli import commands
from modelbuild.cli import main as cli

bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("completion") / "modelbuild.bash"


@pytest.fixture
def completed(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> object:
    """What a Tab behind these words offers, in a folder with a recipe, a folder and other files."""
    if not script.exists():
        assert cli.main(["completion", "bash"]) == 0
        script.write_text(capsys.readouterr().out)
    (tmp_path / "configs").mkdir()
    (tmp_path / "build/net").mkdir(parents=True)
    (tmp_path / "build/net/net.fp32.onnx").touch()
    for name in ("net.yaml", "other.yml", "net.py", "configs/inner.yaml"):
        (tmp_path / name).touch()

    def ask(*words: str) -> set[str]:
        code = (
            f'source {script}; COMP_WORDS=(modelbuild "$@"); COMP_CWORD=$#; COMP_LINE="${{COMP_WORDS[*]}}";'
            'COMP_POINT=${#COMP_LINE}; _shtab_modelbuild modelbuild "${COMP_WORDS[COMP_CWORD]}"'
            ' "${COMP_WORDS[COMP_CWORD-1]}" 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", code, "bash", *words], cwd=tmp_path, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return set(done.stdout.split())

    return ask


@bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["bu"], ["build"]),
        (["build", "--ou"], ["--out"]),
        (["build", "n"], ["net.yaml"]),
        (["build", ""], ["net.yaml", "other.yml", "configs", "build"]),
        (["build", "net.yaml", "configs/"], ["configs/inner.yaml"]),
        (["build", "net.yaml", "--keep"], ["--keep-going"]),
        (["build", "--out", ""], ["configs", "build"]),
        (["build", "--format", ""], ["text", "json"]),
        (["inspect", "net."], ["net.yaml", "net.py"]),
        (["cache", "v"], ["verify"]),
        (["why", "net.f"], ["net.fp32.onnx"]),
        (["why", "net.fp32.onnx", "n"], ["net.yaml"]),
        (["build", "--changed-since", "HE"], ["HEAD"]),
        (["explain", "baked"], ["baked-axis"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
    ids=lambda given: " ".join(given),
)
def test_bash_offers_what_fits(completed: object, words: list[str], offered: list[str]) -> None:
    assert completed(*words) == set(offered)  # type: ignore[operator]


@bash
def test_bash_offers_every_command(completed: object) -> None:
    assert completed("") == set(commands.ALL)  # type: ignore[operator]


@bash
def test_bash_has_a_completion_for_the_command_once_the_script_is_read(
    completed: object, script: Path
) -> None:
    done = subprocess.run(
        ["bash", "--norc", "-c", f"source {script}; complete -p modelbuild"], capture_output=True, text=True
    )
    assert "-F _shtab_modelbuild modelbuild" in done.stdout


@pytest.mark.parametrize(
    ("shell", "sign"), [("zsh", "#compdef modelbuild"), ("fish", "complete -c modelbuild")]
)
def test_other_shells_get_a_script_with_every_command(
    capsys: pytest.CaptureFixture[str], shell: str, sign: str
) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert sign in text
    assert all(name in text for name in commands.ALL)


def test_a_shell_that_nobody_knows_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["completion", "ksh"])
    assert end.value.code == 2
    assert "invalid choice: 'ksh'" in capsys.readouterr().err
