"""After a build: the nodes that a search kept in fp32, put into the recipes that it searched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from modelbuild.base.catalogue import EXIT_USAGE
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.results import GOOD, ArtifactResult, RecipeResult
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.writing import write_back


def loaded(paths: Sequence[Path]) -> dict[str, bytes]:
    """The recipes' text before they are read: what is changed later is not overwritten."""
    found = {}
    for path in paths:
        try:
            found[str(path)] = path.read_bytes()
        except OSError:
            continue  # loading it says so
    return found


def written_back(recipe: Recipe, result: RecipeResult, texts: Mapping[str, bytes]) -> RecipeResult:
    """Write each precision's kept nodes into the recipe's file; the result says what was done."""
    said: list[Diagnostic] = []
    text = texts.get(result.recipe)
    found: dict[str, list[str]] = {}  # by precision: each variant that is exported by itself has a search
    for artifact in result.artifacts:
        of_all = found.setdefault(artifact.precision, [])
        of_all += [node for node in _kept(artifact) if node not in of_all]
    for precision, kept in found.items():
        if not kept or text is None:
            continue
        path = Path(result.recipe)
        own = getattr(recipe.precision, precision).node_block_list
        try:
            if write_back(path, precision, (*own, *kept), text):
                said.append(_told(precision, len(own) + len(kept)))
            text = path.read_bytes()
        except RecipeError as error:
            return replace(
                result,
                status="failed",
                diagnostics=(*result.diagnostics, *said, *error.diagnostics),
                exit_code=max(result.exit_code, EXIT_USAGE),
            )
    return replace(result, diagnostics=(*result.diagnostics, *said))


def _kept(artifact: ArtifactResult) -> tuple[str, ...]:
    if artifact.status not in GOOD or artifact.conversion is None:
        return ()
    return tuple(artifact.conversion["kept"])


def _told(precision: str, count: int) -> Diagnostic:
    nodes = f"{count} nodes" if count > 1 else "one node"
    return Diagnostic(
        "recipe-updated",
        f"`precision.{precision}.node_block_list` now names {nodes}, as the search found them",
        "review and commit it; the next build converts without a search",
        level="info",
    )
