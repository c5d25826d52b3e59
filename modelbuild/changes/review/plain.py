"""A review as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelbuild.base.escaping import visible
from modelbuild.changes.review import words
from modelbuild.changes.review.values import RecipeReview, Review
from modelbuild.recipe.problems import clean
from modelbuild.wording.phrases import few

_MOST = 30  # lines of one kind for one recipe
_MOST_RECIPES = 200


def render(review: Review) -> str:
    """The text; whatever others wrote in it is on one line, without what a terminal would obey."""
    return visible("\n".join(_lines(review)))


def _lines(review: Review) -> Iterator[str]:
    yield f"{review.base.said} -> {review.head.said}: {words.headline(review)}"
    for recipe in review.recipes[:_MOST_RECIPES]:
        yield ""
        yield from _recipe(recipe)
    if len(review.recipes) > _MOST_RECIPES:
        yield f"\nand {len(review.recipes) - _MOST_RECIPES} more recipes; `--format json` has them"
    moved = [f"{clean(old, 200)} -> {clean(new, 200)}" for old, new in (review.moved or {}).items()]
    yield from _note("moved, and nothing else", moved)
    yield from _note("written otherwise, and the same recipe", [clean(p, 200) for p in review.reformatted])
    for found in (d for r in review.recipes[:_MOST_RECIPES] for d in r.diagnostics):
        yield ""
        yield found.render()


def _note(what: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"\n{what}:"
        yield from _cut([f"  {line}" for line in lines])


def _recipe(recipe: RecipeReview) -> Iterator[str]:
    was = f" (was {clean(recipe.was, 200)})" if recipe.was else ""
    yield f"{clean(recipe.recipe, 200)}: {clean(recipe.name)}{was}"
    yield from _cut([f"  {line}" for line in words.summary(recipe)])
    cost = words.cost(recipe)
    for word, found in words.effects(recipe):
        yield f"  {word}: {few([clean(e.artifact, 100) for e in found], _MOST)}"
    if cost:
        yield f"  last time: {cost}"
    elif recipe.kind == "changed" and not recipe.failed:
        yield "  rebuilds nothing"
    if recipe.lock:
        yield "  lock file:"
        yield from _cut([f"    {change.said}" for change in recipe.lock])


def _cut(lines: Sequence[str]) -> list[str]:
    if len(lines) <= _MOST:
        return list(lines)
    return [*lines[: _MOST - 1], f"  … and {len(lines) - _MOST + 1} more"]
