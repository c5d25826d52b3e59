"""The end of a command, for people: of each recipe one row per artifact, then the diagnostics."""

from __future__ import annotations

from modelbuild import showing
from modelbuild.results import BuildResult, RecipeResult


def render(result: BuildResult) -> str:
    """Everything there is to say about a build; the whole table only of what was not idle, or is alone."""
    blocks: list[str] = []
    lines: list[str] = []  # of recipes with nothing to do, which stand together
    for recipe in result.recipes:
        if len(result.recipes) > 1 and showing.idle(recipe):
            lines.append(_line(recipe))
            continue
        blocks += ["\n".join(lines), _recipe(recipe)]
        lines = []
    blocks.append("\n".join(lines))
    if result.interrupted:
        blocks.append("interrupted: what was proven is published, nothing is half-written")
    return "\n\n".join(filter(None, blocks))


def _line(result: RecipeResult) -> str:
    line = f"{result.recipe}: {result.name}: {showing.counted(result)}"
    return "\n".join(filter(None, [line, showing.said(result)]))


def _recipe(result: RecipeResult) -> str:
    rows = f"{result.recipe}: {result.name}\n" + showing.table(result.artifacts) if result.artifacts else ""
    return "\n".join(filter(None, [rows, showing.said(result)])) or f"{result.recipe}: ok"
