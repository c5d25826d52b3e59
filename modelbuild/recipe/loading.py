"""From a file or a text to a checked recipe, or to every mistake in it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

from modelbuild.errors import Diagnostic, RecipeError
from modelbuild.recipe.checking import check
from modelbuild.recipe.excerpts import diagnostics
from modelbuild.recipe.finding import beside
from modelbuild.recipe.problems import INVALID, Problem, clean, described
from modelbuild.recipe.reading import MOST_BYTES, Document, read
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.sifting import MOST, Sieve
from modelbuild.recipe.words import PATTERNS, RECIPE_NAME


def load(path: Path) -> Recipe:
    """The recipe in a file. The files that it names must be there; they are not opened.

    Raises:
        RecipeError: the file cannot be read, or the recipe is wrong; with every mistake.
    """
    try:
        if not path.is_file():
            why = "it is not a file" if path.exists() else "there is no such file"
            raise RecipeError(_unreadable(path, why))
        with path.open("rb") as file:
            source = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RecipeError(_unreadable(path, why)) from error
    return _recipe(source, str(path), path.stem, path.parent)


def parse(source: str | bytes, where: str, stem: str) -> Recipe:
    """The recipe in a text, say of a git revision. ``stem`` names it if it has no ``name``.

    Raises:
        RecipeError: the recipe is wrong; with every mistake, placed at ``where:line:column``.
    """
    return _recipe(source, where, stem, None)


def _recipe(source: str | bytes, where: str, stem: str, folder: Path | None) -> Recipe:
    document = read(source)
    recipe, problems = _examined(document, stem, folder)
    if problems or recipe is None:
        raise RecipeError(diagnostics(document, problems, where))
    return recipe


def _examined(document: Document, stem: str, folder: Path | None) -> tuple[Recipe | None, list[Problem]]:
    problems = list(document.problems)
    if document.root is None:
        return None, problems
    data = document.root.data
    if not isinstance(data, dict):
        message = f"a recipe is a mapping of keys to values, not {described(data)}"
        hint = "it begins with `model:` and `inputs:`"
        return None, [*problems, Problem((), message, hint)]
    name = _name(data, stem, problems)
    sieve = Sieve(data, name, tainted={problem.route for problem in document.problems})
    recipe = sieve.sift()
    problems += sieve.problems
    if recipe is not None and len(problems) <= MOST:
        problems += sieve.sound(itertools.islice(check(recipe, folder), MOST))
    return recipe, problems


def _name(data: dict[Any, Any], stem: str, problems: list[Problem]) -> str:
    """The name that a recipe has by default; a harmless one where the file's cannot be it."""
    if "name" in data or (re.fullmatch(RECIPE_NAME, stem) and len(stem) <= 100):
        return stem
    message = f"the file's name `{clean(stem)}` cannot begin the names of artifacts"
    hint = f"add `name:`, of {PATTERNS[RECIPE_NAME][1]}"
    problems.append(Problem((), message, hint))
    return "unnamed"


def _unreadable(path: Path, why: str) -> Diagnostic:
    return Diagnostic(INVALID, f"cannot read the recipe: {why}", beside(path), str(path))
