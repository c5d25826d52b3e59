"""How long a comparison may take."""

from __future__ import annotations

import time

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.changes.bounds import Clock


def test_a_comparison_that_works_longer_than_it_may_ends_with_what_to_do() -> None:
    clock = Clock(0.01)
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    with pytest.raises(RecipeError) as found:
        clock.tick()
    assert found.value.diagnostics[0].code == "review-unfinished"
    assert "name fewer recipes" in (found.value.diagnostics[0].hint or "")


def test_what_other_programs_take_of_the_machine_does_not_end_a_comparison() -> None:
    clock = Clock(0.1)
    time.sleep(0.2)
    clock.tick()
