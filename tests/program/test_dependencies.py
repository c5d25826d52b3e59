"""What the package imports is what it says that it needs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What installs a module where another distribution has it, too, or none is installed here.
OTHERWISE = {"onnxruntime": "onnxruntime", "tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    """The distributions that an installation of modelbuild has, or one of its extras for users."""
    extras = [
        row for extra, rows in PROJECT["optional-dependencies"].items() if extra != "dev" for row in rows
    ]
    rows = (*PROJECT["dependencies"], *extras)
    return {normal(re.split(r"[\[<>=!~; ]", row, maxsplit=1)[0]) for row in rows}


def imported() -> dict[str, str]:
    """Each top-level module of others that the package imports by a statement or by its name, and where."""
    found = {}
    for path in sorted((ROOT / "modelbuild").rglob("*.py")):
        for module in _modules(ast.parse(path.read_text())):
            top = module.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "modelbuild":
                found.setdefault(top, str(path.relative_to(ROOT)))
    return found


def _modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (
                a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
            )


@pytest.mark.parametrize("module", sorted(imported()))
def test_a_module_that_is_imported_comes_with_a_declared_dependency(module: str) -> None:
    owners = {normal(name) for name in packages_distributions().get(module, ())} or {
        OTHERWISE.get(module, "")
    }

    assert owners & declared(), (
        f"{imported()[module]} imports {module}: {sorted(owners)} are not in pyproject.toml"
    )


def test_modules_are_found_by_both_ways_to_import_one() -> None:
    assert {"torch", "onnx_ir", "polygraphy"} <= set(imported())
