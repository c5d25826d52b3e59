"""Where the extra `report` is not installed, a report says so before it does anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RECIPE, TINY

ROOT = Path(__file__).parents[3]

# An environment in which what draws the plots is not installed, and what runs in it.
BARE = """
import sys
from importlib.machinery import PathFinder
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "vl_convert" else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
"""
COMMAND = "from modelbuild.quick import main\nsys.exit(main())\n"
FUNCTION = """
import modelbuild
try:
    modelbuild.report("report.html", "net.yaml")
except modelbuild.ToolchainError as error:
    sys.exit(error.diagnostics[0].render())
"""


def bare(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "MODELBUILD_CACHE_DIR": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-c", BARE + code, *arguments], cwd=folder, env=environ, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(TINY)
    (tmp_path / "net.yaml").write_text(RECIPE)
    return tmp_path


SAID = (
    "error[extra-missing]: a report needs vl-convert-python, which is not installed\n"
    'hint: pip install "modelbuild[report]"\n'
)


def test_the_command_says_what_to_install_and_touches_nothing(folder: Path) -> None:
    done = bare(folder, COMMAND, "report", "net.yaml")

    assert (done.returncode, done.stdout, done.stderr) == (4, "", SAID)
    assert sorted(p.name for p in folder.iterdir()) == ["net.py", "net.yaml"]


def test_the_function_raises_what_a_program_can_catch(folder: Path) -> None:
    done = bare(folder, FUNCTION)

    assert (done.returncode, done.stderr) == (1, SAID)


def test_the_other_commands_work_without_it(folder: Path) -> None:
    done = bare(folder, COMMAND, "check", "net.yaml")

    assert done.returncode == 0, done.stderr
