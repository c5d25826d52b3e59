"""Any text as YAML, and back."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from modelbuild.base.scalars import quoted
from modelbuild.recipe.reading import read


@given(st.one_of(st.text(), st.sampled_from(["null", "1e5", "on", "0x1", "a: b", "\U0001f600", "#"])))
def test_any_text_is_read_as_it_was(text: str) -> None:
    document = read(f"a: {quoted(text)}\n")
    assert document.root is not None
    assert document.root.data == {"a": text}


def test_no_other_module_puts_quotes_around_text_for_yaml() -> None:
    root = Path(__file__).parents[2] / "modelbuild"
    homes = [p.name for p in root.rglob("*.py") if re.search(r"meaning\(\w+\) == ", p.read_text())]
    assert homes == ["scalars.py"]
