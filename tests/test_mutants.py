"""``bench/mutants.py`` makes faults that are faults: other code, that compiles, where its name says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[1] / "bench" / "mutants.py"

CODE = """\
def f(a: int = 1, *, b: "x < y" = None) -> bool:
    if a < 2 and not b:
        a += 1
        g(f"{a + 1}", any(b))
    return a
"""


@pytest.fixture(scope="module")
def program() -> Any:
    spec = importlib.util.spec_from_file_location("mutants", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


def test_a_mutant_is_one_fault_that_changes_what_code_decides(program: Any) -> None:
    assert [(m.line, m.kind, m.old, m.new) for m in program.mutants("f.py", CODE)] == [
        (1, "off-by-one", "1", "2"),
        (2, "first-only", "a < 2 and not b", "(a < 2)"),
        (2, "flip", "a < 2", "(a <= 2)"),
        (2, "junction", "a < 2 and not b", "(a < 2 or not b)"),
        (2, "off-by-one", "2", "3"),
        (2, "negation", "not b", "(b)"),
        (3, "dropped", "a += 1", "pass"),
        (3, "off-by-one", "1", "2"),
        (4, "dropped", 'g(f"{a + 1}", any(b))', "pass"),
        (4, "name", "any", "all"),
        (5, "nothing", "return a", "return None"),
    ]


def test_a_mutant_stands_where_its_name_says_and_nowhere_else(program: Any) -> None:
    first = next(m for m in program.mutants("f.py", CODE) if m.kind == "junction")
    assert first.name == "f.py:2:7:junction"
    assert first.applied(CODE.encode()).decode() == CODE.replace("a < 2 and not b", "(a < 2 or not b)")


def test_every_module_has_its_tests(program: Any) -> None:
    for module, tests in program.MODULES.items():
        assert (program.ROOT / module).exists()
        assert all((program.ROOT / test).exists() for test in tests)


def test_a_mutant_of_the_real_code_is_other_code_that_compiles(program: Any) -> None:
    for mutant in program.drawn(list(program.MODULES), 20, 0):
        source = (program.ROOT / mutant.module).read_bytes()
        assert mutant.applied(source) != source
        compile(mutant.applied(source), mutant.name, "exec")


def test_the_seed_alone_decides_which_are_drawn(program: Any) -> None:
    modules = list(program.MODULES)
    assert program.drawn(modules, 20, 1) == program.drawn(modules, 20, 1) != program.drawn(modules, 20, 2)
