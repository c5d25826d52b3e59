"""Every diagnostic code has a page, and `modelbuild explain` prints it."""

from __future__ import annotations

import re

import pytest

from modelbuild.base.catalogue import CODES
from modelbuild.base.errors import RecipeError
from modelbuild.cli import main as cli
from modelbuild.views import explanations
from modelbuild.wording.markdown import rendered
from tests.docs.pages import ROOT

SECTIONS = ["What it means", "Why it happens", "What to do"]


def test_there_is_a_page_for_each_code_of_the_catalogue_and_no_other() -> None:
    pages = (ROOT / "modelbuild/views/explanations").glob("*.md")
    assert sorted(page.stem for page in pages) == explanations.codes() == sorted(CODES)


def test_no_code_is_left_that_nothing_tells() -> None:
    home = ROOT / "modelbuild/base/catalogue.py"
    text = "".join(path.read_text() for path in (ROOT / "modelbuild").rglob("*.py") if path != home)
    assert [code for code in explanations.codes() if f'"{code}"' not in text] == []


@pytest.mark.parametrize("code", explanations.codes())
def test_a_page_says_what_why_and_what_to_do(code: str) -> None:
    page = explanations.explain(code)
    assert page.text.startswith(f"# {code}\n\n{page.level}\n\n## What it means\n\n")
    assert re.findall(r"^## (.*)$", page.text, re.MULTILINE) == SECTIONS
    assert all(len(section.split()) > 8 for section in page.text.split("\n## ")[1:])
    assert len(page.about) <= 110
    assert re.search(r"\b(error|warning|info)\b", page.level)
    assert "exit code" in page.level or "error" not in page.level


def test_a_message_in_a_page_is_of_its_code() -> None:
    for code in explanations.codes():
        shown = re.findall(r"^(?:error|warning|info)\[(.*?)\]", explanations.explain(code).text, re.MULTILINE)
        assert set(shown) <= {code}


def test_explain_prints_the_page(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert cli.main(["explain", "baked-axis"]) == 0
    page = (ROOT / "modelbuild/views/explanations/baked-axis.md").read_text()
    assert capsys.readouterr().out == rendered(page, None, styled=False) + "\n"


def test_explain_takes_the_code_as_it_stands_in_a_message() -> None:
    assert explanations.explain("[Baked-Axis]").code == "baked-axis"


def test_explain_without_a_code_lists_all_in_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == explanations.codes()
    about = "An axis that the recipe calls dynamic is fixed in the graph."
    assert [line for line in lines if line.startswith("baked-axis ") and line.endswith(f"  {about}")]


def test_an_unknown_code_is_told_with_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "baked-axes"]) == 2
    assert capsys.readouterr().err == (
        "error[recipe-invalid]: there is no code `baked-axes`\nhint: did you mean `baked-axis`?\n"
    )


@pytest.mark.parametrize("code", ["", "../secret", "__init__", "no\x1b[2Jsuch", "x" * 5000])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(RecipeError, match=r"there is no code `") as caught:
        explanations.explain(code)
    (said,) = caught.value.diagnostics
    assert "\x1b" not in said.message
    assert len(said.message) < 100
    assert said.hint
