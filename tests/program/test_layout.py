"""Where a test lies: beside the name of the wing that it tests, in a file that can be read at once."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
OTHERS = {"bench", "builds", "docs", "examples", "program", "seal", "zygote"}


def test_every_test_lies_in_a_folder_that_is_named_as_its_wing() -> None:
    wings = {p.name for p in (TESTS.parent / "modelbuild").iterdir() if p.is_dir()}
    folders = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("*.py")}
    assert folders - {"__init__.py", "conftest.py"} <= wings | OTHERS


def test_no_file_of_tests_is_longer_than_450_lines() -> None:
    lines = {str(path.relative_to(TESTS)): path.read_text().count("\n") for path in TESTS.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > 450} == {}
