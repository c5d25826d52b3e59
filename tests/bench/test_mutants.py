"""``bench/mutants.py`` makes faults that are faults: other code, that compiles, where its name says."""

from __future__ import annotations

from bench import mutants

CODE = """\
def f(a: int = 1, *, b: "x < y" = None) -> bool:
    if a < 2 and not b:
        a += 1
        g(f"{a + 1}", any(b))
    return a
"""


def test_a_mutant_is_one_fault_that_changes_what_code_decides() -> None:
    assert [(m.line, m.kind, m.old, m.new) for m in mutants.mutants("f.py", CODE)] == [
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


def test_a_mutant_stands_where_its_name_says_and_nowhere_else() -> None:
    first = next(m for m in mutants.mutants("f.py", CODE) if m.kind == "junction")
    assert first.name == "f.py:2:7:junction"
    assert first.applied(CODE.encode()).decode() == CODE.replace("a < 2 and not b", "(a < 2 or not b)")


def test_every_module_has_its_tests() -> None:
    for module, tests in mutants.MODULES.items():
        assert (mutants.ROOT / module).exists()
        assert all((mutants.ROOT / test).exists() for test in tests)


def test_a_mutant_of_the_real_code_is_other_code_that_compiles() -> None:
    for mutant in mutants.drawn(list(mutants.MODULES), 20, 0):
        source = (mutants.ROOT / mutant.module).read_bytes()
        assert mutant.applied(source) != source
        compile(mutant.applied(source), mutant.name, "exec")


def test_the_seed_alone_decides_which_are_drawn() -> None:
    modules = list(mutants.MODULES)[:3]
    assert mutants.drawn(modules, 20, 1) == mutants.drawn(modules, 20, 1) != mutants.drawn(modules, 20, 2)
