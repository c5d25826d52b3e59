"""``modelbuild audit``, as it is typed: its answers and exit codes."""

from __future__ import annotations

import pytest

from tests.conftest import TINY, Project

pytestmark = pytest.mark.slow

# A C library reads where no hook of Python sees it.
NATIVE = TINY.replace(
    "super().__init__()",
    "super().__init__(); import ctypes; ctypes.CDLL(None).fopen(b'hidden.bin', b'r')",
)


def test_an_undeclared_read_is_told_in_text_and_json_until_it_is_declared(project: Project) -> None:
    project.write("hidden.bin", "x")
    project.write("net.py", NATIVE)
    answer = project.run("audit", "net.yaml", "--format", "json")
    if answer.code == 4:
        pytest.skip(answer.said("tracer-missing"))
    assert (answer.code, answer.report["ok"]) == (1, False)
    assert [(d["code"], d["where"]) for d in answer.diagnostics] == [("undeclared-read", "hidden.bin")]
    text = project.run("audit", "net.yaml")
    assert text.code == 1
    assert "error[undeclared-read]: hidden.bin: it is read, and no key sees it" in text.stdout
    assert "`model: {files: [hidden.bin]}`" in text.stdout
    recipe = (project.folder / "net.yaml").read_text()
    project.write("net.yaml", recipe.replace('"net:Net"', '"net:Net", files: [hidden.bin]'))
    clean = project.run("audit", "net.yaml")
    assert (clean.code, clean.stdout) == (0, "net.yaml: ok\n")
    assert not (project.folder / "build").exists()
    assert not (project.folder / "cache").exists()
