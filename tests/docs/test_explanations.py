"""Every diagnostic code has a page, and `modelbuild explain` prints it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.cli import main as cli
from modelbuild.views import explanations
from tests.docs.pages import ROOT

SLUG = re.compile(r"[a-z0-9]+(-[a-z]+)+")
SECTIONS = ["What it means", "Why it happens", "What to do"]


def _all_codes() -> set[str]:
    """Every slug that a diagnostic is given, by itself or under a name."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "modelbuild").rglob("*.py")]
    given = [part for tree in trees for call in ast.walk(tree) for part in _given(call)]
    names = {part.id for part in given if isinstance(part, ast.Name)}
    named = [part for tree in trees for node in ast.walk(tree) for part in _assigned(node, names)]
    texts = {part.value for part in (*given, *named) if isinstance(part, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and SLUG.fullmatch(text)}


def _given(call: ast.AST) -> Iterator[ast.AST]:
    """All that stands in the arguments of what makes a diagnostic."""
    if isinstance(call, ast.Call):
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        if name in ("Diagnostic", "Problem", "_fail", "matching"):
            for value in (*call.args, *(k.value for k in call.keywords)):
                yield from ast.walk(value)


def _assigned(node: ast.AST, names: set[str]) -> Iterator[ast.AST]:
    """All that stands in what one of these names is set to."""
    if isinstance(node, ast.Assign) and names & {getattr(t, "id", "") for t in node.targets}:
        yield from ast.walk(node.value)


def test_every_code_of_the_source_has_a_page() -> None:
    codes = _all_codes()
    assert {"recipe-invalid", "profile-invalid", "lock-invalid", "fp16-overflow", "baked-axis"} <= codes
    assert sorted(codes - set(explanations.codes())) == []


def test_no_page_is_left_of_a_code_that_is_gone() -> None:
    text = "".join(path.read_text() for path in (ROOT / "modelbuild").rglob("*.py"))
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


def test_explain_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "baked-axis"]) == 0
    assert capsys.readouterr().out == (ROOT / "modelbuild/views/explanations/baked-axis.md").read_text()


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
