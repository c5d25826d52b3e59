"""A place in a recipe, as a person reads it: ``file:line:column``, the line, a caret."""

from __future__ import annotations

from collections.abc import Iterable

from modelbuild.base.errors import Diagnostic
from modelbuild.base.escaping import masked
from modelbuild.recipe.problems import INVALID, Mark, Problem
from modelbuild.recipe.reading import Document

WIDTH = 100
LEAD = 30
"""Columns shown before the caret when a long line is clipped."""

MOST = 50
"""Diagnostics for one recipe. Past that a reader has stopped, and a 1 MiB recipe can make 10**5."""


def diagnostics(document: Document, problems: Iterable[Problem], where: str) -> tuple[Diagnostic, ...]:
    """The problems in the order of the text, each once."""
    found: dict[tuple[Mark, str], Problem] = {}
    for problem in problems:
        mark = problem.mark or document.mark(problem.route, problem.on_key)
        found.setdefault((mark, problem.message), problem)
    ordered = sorted(found, key=lambda at: (at[0].line, at[0].column))
    told = [_diagnostic(document, mark, found[mark, text], where) for mark, text in ordered[:MOST]]
    if len(ordered) > MOST:
        more = f"there are more mistakes than these {MOST}"
        told.append(Diagnostic(INVALID, more, "mend these first", where))
    return tuple(told)


def _diagnostic(document: Document, mark: Mark, problem: Problem, where: str) -> Diagnostic:
    return Diagnostic(
        problem.code,
        problem.message,
        problem.hint,
        f"{where}:{mark.line + 1}:{mark.column + 1}",
        excerpt=excerpt(document.lines, mark),
    )


def excerpt(lines: tuple[str, ...], mark: Mark) -> str:
    """The marked line, and carets under the marked part; clipped around it if it is long."""
    text = lines[mark.line] if mark.line < len(lines) else ""
    end = mark.end_column if mark.end_line == mark.line else len(text.rstrip())
    start = 0 if end <= WIDTH else max(0, mark.column - LEAD)
    before, after = "…" if start else "", "…" if len(text) > start + WIDTH else ""
    shown = before + masked(text[start : start + WIDTH].replace("\t", " ")) + after
    indent = mark.column - start + len(before)
    carets = "^" * min(max(1, end - mark.column), start + WIDTH - mark.column)
    return f"{mark.line + 1:5d} | {shown}\n      | {' ' * indent}{carets}"
