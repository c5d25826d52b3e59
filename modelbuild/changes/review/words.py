"""What both texts of a review say in the same words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from modelbuild.changes.review.values import Effect, RecipeReview, Review
from modelbuild.wording.phrases import plural


def headline(review: Review) -> str:
    """``2 recipes changed, 1 added``."""
    counts = [(kind, sum(r.kind == kind for r in review.recipes)) for kind in ("changed", "added", "removed")]
    told = [(kind, count) for kind, count in counts if count]
    if not told:
        return "no recipe changes"
    (kind, count), *rest = told
    first = f"{plural(count, 'recipe')} {kind}"
    return ", ".join([first, *(f"{n} {k}" for k, n in rest)])


def rebuilt(recipe: RecipeReview) -> str:
    """``5 of 6 artifacts``, or ``3 new``; empty if no file is made again."""
    again, come = recipe.fated("rebuild"), recipe.fated("added")
    there = len(recipe.artifacts) - len(come) - len(recipe.fated("removed"))
    words = [
        f"{len(again)} of {plural(there, 'artifact')}" if again else "",
        f"{len(come)} new" if come else "",
    ]
    return ", ".join(filter(None, words))


def cost(recipe: RecipeReview) -> str:
    """``15.2 s``, ``at least 3.1 s`` where some of it never ran; empty if nothing runs again."""
    if not any(e.fate in ("rebuild", "prove", "added") for e in recipe.artifacts):
        return ""
    if recipe.seconds is None:
        return "not known"
    return f"{'at least ' if recipe.unknown else ''}{duration(recipe.seconds)}"


def duration(seconds: float) -> str:
    """``3.1 s``, ``12 min``, ``2.5 h``."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def effects(recipe: RecipeReview) -> Iterator[tuple[str, Sequence[Effect]]]:
    """The artifacts by what becomes of them, those that stay left out."""
    words = (("rebuilds", "rebuild"), ("new", "added"), ("proves again", "prove"), ("gone", "removed"))
    for word, fate in words:
        if found := tuple(e for e in recipe.artifacts if e.fate == fate):
            yield word, found


def summary(recipe: RecipeReview) -> list[str]:
    """Everything that changed, in the recipe's words, its files first."""
    said = [c.said for c in recipe.files] + [c.said for c in recipe.changes]
    if recipe.kind != "changed":
        said.insert(0, f"a {'new' if recipe.kind == 'added' else 'removed'} recipe")
    elif not said and recipe.lock:
        said.append("its lock file alone")
    return said
