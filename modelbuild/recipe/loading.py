"""From a file or a text to a checked recipe, or to every mistake in it."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.recipe.checking import check
from modelbuild.recipe.defaults import NONE, Defaults, above
from modelbuild.recipe.excerpts import diagnostics
from modelbuild.recipe.finding import beside
from modelbuild.recipe.problems import INVALID, Problem, Route, clean, described, dotted
from modelbuild.recipe.reading import MOST_BYTES, Document, read
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.sifting import MOST, Sieve
from modelbuild.recipe.words import PATTERNS, RECIPE_NAME


def load(path: Path) -> Recipe:
    """The recipe in a file. The files that it names must be there; they are not opened.

    What it does not say is as the project file above it says.

    Raises:
        RecipeError: the file cannot be read, or the recipe or the project file is wrong; with every
            mistake.
    """
    try:
        return _recipe(source(path), str(path), path.stem, above(path.parent), path.parent)
    except RecipeError as error:
        if leads_elsewhere(path):
            why = "it is a link to a file elsewhere, which is not a recipe without mistakes"
            raise RecipeError(_unreadable(path, why)) from error
        raise


def leads_elsewhere(path: Path) -> bool:
    """Whether it is a link out of its folder and of the working folder: what is wrong with such a file is
    not told, since that quotes it. ``configs/net.yaml -> /etc/shadow`` may be a stranger's."""
    place = Path(os.path.realpath(path))
    homes = (os.path.realpath(path.parent), os.path.realpath(Path.cwd()))
    return path.is_symlink() and not any(place.is_relative_to(home) for home in homes)


def parse(text: str | bytes, where: str, stem: str, defaults: Defaults = NONE) -> Recipe:
    """The recipe in a text, say of a git revision. ``stem`` names it if it has no ``name``.

    Raises:
        RecipeError: the recipe is wrong; with every mistake, placed at ``where:line:column``.
    """
    return _recipe(text, where, stem, defaults, None)


def source(path: Path) -> bytes:
    """The bytes of a recipe's file, at most one more than a recipe may have.

    Raises:
        RecipeError: it cannot be read.
    """
    try:
        if not path.is_file():
            why = "it is not a file" if path.exists() else "there is no such file"
            raise RecipeError(_unreadable(path, why))
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RecipeError(_unreadable(path, why)) from error


def _recipe(text: str | bytes, where: str, stem: str, defaults: Defaults, folder: Path | None) -> Recipe:
    document = read(text)
    recipe, problems = _examined(document, stem, defaults, folder)
    if problems or recipe is None:
        raise RecipeError(diagnostics(document, problems, where))
    return recipe


def _examined(
    document: Document, stem: str, defaults: Defaults, folder: Path | None
) -> tuple[Recipe | None, list[Problem]]:
    problems = list(document.problems)
    if document.root is None:
        return None, problems
    data = document.root.data
    if not isinstance(data, dict):
        message = f"a recipe is a mapping of keys to values, not {described(data)}"
        hint = "it begins with `model:` and `inputs:`"
        return None, [*problems, Problem((), message, hint)]
    name = _name(data, stem, problems)
    full, filled = defaults.fill(data)
    sieve = Sieve(full, name, data, tainted={problem.route for problem in document.problems})
    recipe = sieve.sift()
    problems += sieve.problems
    if recipe is not None and len(problems) <= MOST:
        problems += sieve.sound(itertools.islice(check(recipe, folder), MOST))
    return recipe, [_of(problem, filled, defaults.where) for problem in problems]


def _of(problem: Problem, filled: frozenset[Route], file: str) -> Problem:
    """A problem with a value that stands in the project file says so: the recipe has no such line."""
    if any(problem.route[: len(route)] == route for route in filled):
        return replace(problem, route=(), message=f"{problem.message} ({dotted(problem.route)} of {file})")
    return problem


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
