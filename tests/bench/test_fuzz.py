"""A small share of ``bench/fuzz.py``: the program stays whole, and no common mutation is a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import fuzz


@pytest.mark.parametrize(("kind", "count"), [("recipe", 100), ("model", 60)])
@pytest.mark.slow
def test_mutated_files_are_told_of_soon_and_without_a_traceback(
    kind: str, count: int, tmp_path: Path
) -> None:
    tally = fuzz.Tally()
    assert fuzz.run(kind, 500_000, count, 7, tmp_path, tally) == []
    assert tally.cases == count
    assert 0 < tally.right < count


def test_a_case_is_made_again_by_its_seed_and_number() -> None:
    sources = [text.encode() for text in fuzz.recipes()]
    made = [fuzz.made(fuzz.Case("recipe", n), 3, sources) for n in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
