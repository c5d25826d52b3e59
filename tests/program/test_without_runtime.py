"""After a bare `pip install modelbuild`: what is missing is told before anything is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RECIPE, TINY

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

# An environment in which onnxruntime is not installed, and the command in it.
BARE = """
import sys
from importlib.machinery import PathFinder
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "onnxruntime" else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
from modelbuild.quick import main
sys.exit(main())
"""
SAID = (
    "onnxruntime is not installed, without which nothing can be proven: "
    'pip install "modelbuild[cpu]", or "modelbuild[gpu]" where there is a GPU'
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(TINY)
    (tmp_path / "net.yaml").write_text(RECIPE)
    return tmp_path


def bare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MODELBUILD_CACHE_DIR": str(folder / "cache"),
        "COLUMNS": "",
    }
    return subprocess.run(
        [sys.executable, "-c", BARE, *arguments], cwd=folder, env=environ, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["build", "verify", "audit"])
def test_a_command_that_runs_files_says_what_to_install_before_it_does_anything(
    command: str, folder: Path
) -> None:
    if command == "verify":
        (folder / "build/net").mkdir(parents=True)
        (folder / "build/net/net.fp32.onnx").touch()

    done = bare(folder, command, "net.yaml")

    assert (done.returncode, done.stdout, done.stderr) == (4, "", f"error[backend-missing]: {SAID}\n")
    assert not (folder / "cache").exists()


def test_a_program_gets_its_object(folder: Path) -> None:
    answer = json.loads(bare(folder, "build", "net.yaml", "--format", "json").stdout)

    assert not answer["ok"]
    assert [d["message"] for d in answer["recipes"][0]["diagnostics"]] == [SAID]


@pytest.mark.parametrize(
    "command", [("status",), ("build", "--dry-run"), ("graph",), ("explain", "baked-axis")]
)
def test_a_command_that_runs_none_works_without(command: tuple[str, ...], folder: Path) -> None:
    recipe = () if command[0] == "explain" else ("net.yaml",)

    done = bare(folder, *command, *recipe)

    assert done.returncode == 0, done.stderr
    assert "backend-missing" not in done.stdout + done.stderr
