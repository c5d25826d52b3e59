"""The captures in the documents are what terminals of three widths show."""

from __future__ import annotations

import re

import pytest

from tests.cli import captures


@pytest.mark.slow
def test_the_captures_are_what_is_shown_and_fit_their_terminals() -> None:
    """A word that is longer than a line, such as the path of a log, stays whole."""
    taken = captures.taken()
    assert sorted(taken) == sorted(path.name for path in captures.FOLDER.glob("*.txt"))
    for name, text in taken.items():
        width = int(re.findall(r"\d+", name)[0])
        for line in text.splitlines():
            assert len(line) <= width or " " not in line.strip(), f"{name}: {line}"
        kept = (captures.FOLDER / name).read_text()
        assert captures.masked(text) == captures.masked(kept), f"`make captures` writes {name} anew"
