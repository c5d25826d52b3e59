"""Parts that many sentences share are made in one place, and so are the same in all of them."""

from __future__ import annotations

import ast
import re

import pytest

from modelbuild.wording import phrases
from tests.docs.pages import ROOT

MODULES = sorted((ROOT / "modelbuild").rglob("*.py"))


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (None, ""),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_048_575, "1.0 MiB"),
        (1_500_000_000, "1.4 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_a_size_is_told_in_powers_of_1024(count: int | None, said: str) -> None:
    assert phrases.size(count) == said


@pytest.mark.parametrize(
    ("names", "between", "said"),
    [
        ([], ", ", ""),
        (["a", "b"], ", ", "a, b"),
        (["a", "b", "c", "d"], ", ", "a, b and 2 more"),
        (["a", "b", "c"], "; ", "a; b; and 1 more"),
    ],
)
def test_of_many_names_the_first_are_told_and_the_others_counted(
    names: list[str], between: str, said: str
) -> None:
    assert phrases.few(names, 2, between) == said


def test_what_is_counted_can_have_a_name() -> None:
    assert phrases.few(["a", "b", "c"], 1, of=" tensors") == "a and 2 more tensors"


def test_the_name_that_was_meant_is_asked_for_whatever_its_case() -> None:
    assert phrases.did_you_mean("OPSETS", ["inputs", "opset"], "none") == "did you mean `opset`?"
    assert phrases.did_you_mean("weights", ["inputs", "opset"], "none") == "none"


def test_a_name_that_was_meant_stays_text() -> None:
    assert phrases.meant("a\x1b[2J") == "did you mean `a\\x1b[2J`?"


def test_a_long_word_and_a_long_list_are_cut_short_unless_they_are_asked_for() -> None:
    names = [f"n{i}" for i in range(500)] + ["layernorm"]
    assert phrases.nearest("layernrom", names) is None
    assert phrases.nearest("layernrom", names, most=1000) == "layernorm"
    assert phrases.nearest("x" * 61, ["x" * 60]) is None
    assert phrases.nearest("x" * 61, ["x" * 60], longest=100) == "x" * 60


@pytest.mark.parametrize(
    ("pattern", "home"),
    [
        (r"did you mean `", "wording/phrases.py"),
        (r"difflib", "wording/phrases.py"),
        (r"[KMG]iB\"\s*if |\.1f\} [kKMG]i?B", "none"),
        (r"and \{len\(\w+\) - \w+\} more\"", "none"),
    ],
)
def test_no_module_makes_such_a_part_for_itself(pattern: str, home: str) -> None:
    texts = {str(p.relative_to(ROOT / "modelbuild")): ast.unparse(ast.parse(p.read_text())) for p in MODULES}
    assert [name for name, text in texts.items() if re.search(pattern, text) and name != home] == []
