"""A small share of ``bench/fuzz.py``: the program stays whole, and no common mutation is a traceback."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[1] / "bench" / "fuzz.py"


@pytest.fixture(scope="module")
def program() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kind", "count"), [("recipe", 100), ("model", 60)])
@pytest.mark.slow
def test_mutated_files_are_told_of_soon_and_without_a_traceback(
    program: Any, kind: str, count: int, tmp_path: Path
) -> None:
    tally = program.Tally()
    assert program.run(kind, 500_000, count, 7, tmp_path, tally) == []
    assert tally.cases == count
    assert 0 < tally.right < count


def test_a_case_is_made_again_by_its_seed_and_number(program: Any) -> None:
    sources = [text.encode() for text in program.recipes()]
    made = [program.made(program.Case("recipe", n), 3, sources) for n in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
