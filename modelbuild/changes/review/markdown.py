"""A review as a comment on a pull request, which can be posted as it is.

A stranger may have chosen every name in it. So each stands in ``<code>``, where GitHub looks for no
mentions, links or emoji, and what Markdown or HTML would take for its own is written as a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from modelbuild.base.errors import Diagnostic
from modelbuild.changes.review import words
from modelbuild.changes.review.values import RecipeReview, Review
from modelbuild.recipe.problems import clean
from modelbuild.wording.phrases import plural

MARKER = "<!-- modelbuild diff -->"
"""The first line: a bot finds the comment by it, to write it anew."""

_MOST_BYTES = 60_000  # GitHub takes 65 536 characters
_ROWS, _CHANGES, _WARNINGS, _DETAILS = 50, 4, 20, 40

# What Markdown has a meaning for in a line of HTML; `www.` and `://` would become links.
_OURS = re.compile(r"[&<>\"'|`@#*\[\]~\\!$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=[wW][wW][wW])\.")

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render(review: Review) -> str:
    """The comment; at most 60 000 bytes, the end being left out."""
    parts = [MARKER, f"### modelbuild: {words.headline(review)}", "", _between(review)]
    if review.recipes:
        parts += ["", *_table(review)]
    parts += _told(review)
    blocks = list(_blocks(review))
    if not blocks:
        return "\n".join(parts)
    parts += ["", "<details><summary>details</summary>", ""]
    room = _MOST_BYTES - sum(len(part.encode()) + 1 for part in parts)
    for number, block in enumerate(blocks):
        room -= len(block.encode()) + 1
        if room < 200:
            parts.append(f"{len(blocks) - number} more are left out: `modelbuild diff` prints them.\n")
            break
        parts.append(block)
    return "\n".join([*parts, "</details>"])


def code(text: str, limit: int = 120) -> str:
    """Text of others, as text and nothing else."""
    shown = _OURS.sub(lambda found: _ENTITIES.get(found[0]) or f"&#{ord(found[0])};", clean(text, limit))
    return f"<code>{shown}</code>"


def _between(review: Review) -> str:
    return f"{code(review.base.said)} → {code(review.head.said)}"


def _table(review: Review) -> Iterator[str]:
    yield "| recipe | what changed | rebuilds | last time | warnings |"
    yield "|---|---|---|--:|--:|"
    for recipe in review.recipes[:_ROWS]:
        said = words.summary(recipe)
        lines = [code(line, 80) for line in said[:_CHANGES]]
        if len(said) > _CHANGES:
            lines.append(f"and {len(said) - _CHANGES} more")
        proven = len(recipe.fated("prove"))
        again = [words.rebuilt(recipe), f"{proven} proven again" if proven else ""]
        what = "an error" if recipe.failed else "<br>".join(lines) or "nothing in the recipe"
        cells = (
            code(recipe.recipe, 100), what, ", ".join(filter(None, again)) or "nothing",
            words.cost(recipe) or "–", str(len(recipe.warnings) or "–"),
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    if len(review.recipes) > _ROWS:
        yield f"\nand {len(review.recipes) - _ROWS} more recipes"


def _told(review: Review) -> list[str]:
    """Errors and warnings: in view, errors first."""
    rows = [(r, d) for level in ("error", "warning") for r in review.recipes for d in r.diagnostics
            if d.level == level]  # fmt: skip
    lines = [f"- **{d.level}** {code(r.name, 60)}: {_sentence(d)}" for r, d in rows[:_WARNINGS]]
    if len(rows) > _WARNINGS:
        lines.append(f"- and {len(rows) - _WARNINGS} more")
    return ["", *lines] if lines else []


def _sentence(found: Diagnostic) -> str:
    place = f"{code(found.where, 150)} " if found.level == "error" and found.where else ""
    return f"{place}{code(found.message, 300)} ({code(found.code)})"


def _blocks(review: Review) -> Iterator[str]:
    """The details: one block per recipe, then what is no change."""
    for recipe in review.recipes:
        if lines := list(_details(recipe)):
            yield _block(code(recipe.recipe), lines)
    if review.moved:
        moves = [f"- {code(old)} → {code(new)}" for old, new in review.moved.items()]
        yield _block(f"Moved, and nothing else: {plural(len(moves), 'recipe')}", moves)
    if review.reformatted:
        same = [f"- {code(path)}" for path in review.reformatted]
        yield _block(f"Written otherwise, and the same: {plural(len(same), 'recipe')}", same)


def _details(recipe: RecipeReview) -> Iterator[str]:
    if recipe.was:
        yield f"Was {code(recipe.was)}.\n"
    yield from _list("", words.summary(recipe)[_CHANGES:])
    for word, found in words.effects(recipe):
        yield from _list(f"{word.capitalize()}:", [
            e.artifact + (f" ({words.duration(e.seconds)} last time)" if e.seconds is not None else "")
            for e in found
        ])  # fmt: skip
    yield from _list("Lock file:", [change.said for change in recipe.lock])
    yield from _list("Notes:", [d.message for d in recipe.diagnostics if d.level == "info"])


def _list(title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    if title:
        yield f"\n{title}\n"
    yield from (f"- {code(line, 250)}" for line in lines[:_DETAILS])
    if len(lines) > _DETAILS:
        yield f"- and {len(lines) - _DETAILS} more"


def _block(title: str, lines: Sequence[str]) -> str:
    body = "\n".join(lines[: 4 * _DETAILS])
    return f"**{title}**\n\n{body.strip()}\n"
