"""What is not imported costs nothing: importing torch alone takes 1.6 s, numpy 0.1 s."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"numpy", "onnx", "onnxruntime", "onnxsim", "polygraphy", "tensorrt_rtx", "torch", "transformers"}


def imported_by(statement: str, *options: str) -> set[str]:
    """The modules that a fresh interpreter holds after ``statement`` and did not hold before."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    argv = [sys.executable, *options, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import modelbuild",
        "import modelbuild.quick",
        "import modelbuild.state.refreshing",
        "import modelbuild.cli.main",
        "import modelbuild.building.builds",
        "import modelbuild.inspection",
        "import modelbuild.cli.terminal.summary, modelbuild.cli.terminal.progress",
        "from modelbuild.cli.main import main; main(['check', 'configs'])",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(statement: str) -> None:
    assert imported_by(statement) & HEAVY == set()


def test_the_package_itself_imports_nothing() -> None:
    found = imported_by("import modelbuild")
    assert {m for m in found if m.startswith("modelbuild")} == {"modelbuild"}
    assert "dataclasses" not in found


def test_every_command_starts_with_a_few_small_modules() -> None:
    """re takes 6 ms, json 8, typing 10, argparse and pathlib more: bare Python takes 10."""
    found = imported_by("import modelbuild.quick", "-S")
    assert {m for m in found if m.startswith("modelbuild")} == {
        "modelbuild", "modelbuild.quick", "modelbuild.settings", "modelbuild.state",
        "modelbuild.state.recalling", "modelbuild.state.format", "modelbuild.machine",
        "modelbuild.machine.home",
        "modelbuild.base", "modelbuild.base.stat_rows",
    }  # fmt: skip
    costly = {"argparse", "collections", "dataclasses", "hashlib", "json", "pathlib", "re", "typing"}
    assert found & costly == set()


def test_the_command_line_imports_a_command_only_when_it_is_given() -> None:
    found = imported_by("import modelbuild.cli.main")
    assert (
        found & {"modelbuild.building.builds", "modelbuild.inspection", "pydantic", "rich", "yaml"} == set()
    )
