"""What a package index shows of the README has no link that leads nowhere."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from typing import cast

import pytest

from tests.docs.pages import ROOT

pytest.importorskip("hatchling", reason="the build backend is not installed: pip install hatchling")
README = (ROOT / "README.md").read_text()
published = cast(
    Callable[[str, "str | None", str], str], runpy.run_path(str(ROOT / "docs/readme.py"))["published"]
)


def test_links_lead_to_the_source_at_the_tag_of_the_version() -> None:
    text = published(README, "https://example.org/us/modelbuild/", "v1.2.0")

    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert targets
    assert [t for t in targets if not t.startswith("https://")] == []
    assert "(https://example.org/us/modelbuild/blob/v1.2.0/docs/tutorial.md)" in text
    assert "(https://example.org/us/modelbuild/raw/v1.2.0/docs/build.svg)" in text
    assert "<!--" not in text


def test_without_an_address_links_are_words() -> None:
    text = published(README, None, "v1.2.0")

    assert re.findall(r"\]\([^)]*\)", text) == []
    assert "Then the tutorial: from a model of yours" in text


def test_links_to_other_places_stay() -> None:
    text = "[a](https://example.org), [b](#start), [c](docs/c.md)"

    assert published(text, None, "v1") == "[a](https://example.org), [b](#start), c"
