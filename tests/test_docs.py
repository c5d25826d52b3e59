"""What the documents say is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from modelbuild.recipe.loading import load
from tests.conftest import Project

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def _codes_in_the_code() -> set[str]:
    found = set()
    for path in (ROOT / "modelbuild").rglob("*.py"):
        text = path.read_text()
        found |= set(re.findall(r'Diagnostic\(\s*"([a-z0-9-]+)"', text))
        found |= set(re.findall(r'\b(?:code|INVALID)\b[^"\n]*"([a-z0-9]+(?:-[a-z0-9]+)+)"', text))
    return found


def test_every_code_is_explained() -> None:
    text = (ROOT / "docs/diagnostics.md").read_text()
    codes = _codes_in_the_code()
    assert {"recipe-invalid", "parity-failed", "worker-crashed"} <= codes
    assert [c for c in sorted(codes) if f"| `{c}` |" not in text] == []


def test_the_recipe_in_the_readme_is_the_one_in_configs() -> None:
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    assert yaml.safe_load(block[1]) == yaml.safe_load((ROOT / "configs/resnet50.yaml").read_text())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_a_valid_recipe(path: Path) -> None:
    assert load(path).name


@pytest.mark.parametrize(
    "command", ["build", "status", "why", "verify", "check", "audit", "cache", "inspect", "init", "schema"]
)
def test_every_command_in_the_readme_has_help_with_an_example(project: Project, command: str) -> None:
    assert f"`modelbuild {command}" in (ROOT / "README.md").read_text()
    answer = project.run(command, "--help")
    assert answer.code == 0
    assert f"  modelbuild {command} " in answer.stdout.partition("example")[2]
