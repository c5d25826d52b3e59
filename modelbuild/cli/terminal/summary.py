"""The end of a command, for people: of each recipe one row per artifact, then the diagnostics; of
several recipes their sum, and once more what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from modelbuild.base.errors import Diagnostic
from modelbuild.base.escaping import line
from modelbuild.base.results import BuildResult, RecipeResult
from modelbuild.wording import showing, totals


def render(result: BuildResult, seconds: float = -1, verbose: bool = False, room: int | None = None) -> str:
    """Everything there is to say about a build that took ``seconds`` (negative: it does not matter); tables
    have lines of ``room`` characters at most.

    What was told when a result was made is not told again, and of several recipes those that were idle
    take a line each, unless ``verbose``. Where nothing was to do at all, that is one line.
    """
    if result.recipes and not (verbose or result.interrupted) and all(map(showing.idle, result.recipes)):
        if news := [said for r in result.recipes if (said := showing.said(r, again=False))]:
            return "\n".join([*news, summed(result.recipes)])
        return summed(result.recipes)
    blocks: list[str] = []
    lines: list[str] = []  # of recipes with nothing to do, which stand together
    for recipe in result.recipes:
        brief = _plain(recipe) or (showing.idle(recipe) and not verbose)
        if brief and len(result.recipes) > 1:
            lines.append(_line(recipe))
            continue
        blocks += ["\n".join(lines), _recipe(recipe, verbose, room)]
        lines = []
    blocks.append("\n".join(lines))
    if result.interrupted:
        blocks.append("interrupted: what was proven is published, nothing is half-written")
    if any(r.artifacts for r in result.recipes) or len(result.recipes) > 1:
        failures = _failures(result.recipes) if len(result.recipes) > 1 else ()
        blocks.append("\n".join([*failures, summed(result.recipes, seconds)]))
    return "\n\n".join(filter(None, blocks))


def summed(recipes: Sequence[RecipeResult], seconds: float = -1) -> str:
    """The last line: what became of the artifacts, and where they are."""
    counts = Counter(a.status for r in recipes for a in r.artifacts)
    wrong = sum(not r.artifacts and bool(r.exit_code) for r in recipes)
    idle = all(map(showing.idle, recipes))
    told = totals.line(
        len(recipes),
        counts,
        None if idle else seconds,
        showing.folder(recipes),
        wrong,
        showing.standing(recipes),
    )
    return f"{recipes[0].name}: {told}" if len(recipes) == 1 else told


def errors(result: BuildResult) -> str:
    """What went wrong, and nothing else."""
    found = [showing.said(r, ("error",)) for r in result.recipes]
    return "\n".join(filter(None, found))


def _failures(recipes: Sequence[RecipeResult]) -> Iterator[str]:
    """A line for each thing that failed by itself, so that the last screen names them all."""
    for recipe in recipes:
        told = _is_wrong(recipe.diagnostics)
        if told:
            yield _failure(line(recipe.recipe), recipe.diagnostics)
        for artifact in recipe.artifacts:
            if artifact.status == "failed" and (_is_wrong(artifact.diagnostics) or not told):
                yield _failure(f"{line(recipe.recipe)}: {artifact.name}", artifact.diagnostics)


def _is_wrong(found: Sequence[Diagnostic]) -> bool:
    return any(d.level == "error" for d in found)


def _failure(what: str, found: Sequence[Diagnostic]) -> str:
    wrong = [d for d in found if d.level == "error"]
    first = f": {wrong[0].code}: {wrong[0].message}".partition("\n")[0] if wrong else ""
    return f"failed: {what}{first}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")


def _plain(result: RecipeResult) -> bool:
    """Whether there is nothing to say but that it is right."""
    return not (result.artifacts or result.diagnostics or result.exit_code)


def _line(result: RecipeResult) -> str:
    if _plain(result):
        return f"{line(result.recipe)}: ok"
    counted = f"{line(result.recipe)}: {result.name}: {showing.counted(result)}"
    return "\n".join(filter(None, [counted, showing.said(result, again=False)]))


def _recipe(result: RecipeResult, verbose: bool, room: int | None) -> str:
    if _plain(result):
        return _line(result)
    rows = ""
    if result.artifacts:
        table = showing.table(result.artifacts, room, whole=verbose)
        rows = f"{line(result.recipe)}: {result.name}\n{table}"
    return "\n".join(filter(None, [rows, showing.said(result, again=verbose)]))
