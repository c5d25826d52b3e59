"""What recipes mean where they say nothing: ``[tool.modelbuild]`` in a pyproject.toml.

``read`` takes a text (from a git revision, say), ``above`` looks for the file: the nearest one with such a
table at or above a recipe's folder, so that a recipe means the same from wherever a command runs. What is
wrong in the table is told like a mistake in a recipe.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, Strict, ValidationError

from modelbuild import settings
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.recipe import model_checks
from modelbuild.recipe.problems import INVALID, Problem, Route, clean
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.part import Part
from modelbuild.recipe.schema.precisions import Precisions
from modelbuild.recipe.schema.proofs import TolerancePart
from modelbuild.recipe.wording import worded
from modelbuild.recipe.words import Text, Whole
from modelbuild.remote import configured

TABLE = "[tool.modelbuild]"

# Keys of more parts cost tomllib the square of them: 20 000 in one key take it 4 s.
_MOST_PARTS = 50
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{_MOST_PARTS},}}", re.ASCII)


class Tolerances(Part):
    """Tolerances for the precisions whose recipe names none."""

    fp32: TolerancePart | None = Field(default=None, description="As in a recipe: {rtol, atol} and others.")
    fp16: TolerancePart | None = Field(default=None, description="As in a recipe: {relative_l2, cosine}.")
    bf16: TolerancePart | None = Field(default=None, description="As in a recipe: {relative_l2, cosine}.")
    int8: TolerancePart | None = Field(default=None, description="As in a recipe: {relative_l2, cosine}.")


class TrustedPart(Part):
    """A public key whose entries count for some steps alone."""

    key: Text = Field(description="`ed25519:` and its base64, as `modelbuild cache keygen` prints it.")
    steps: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None, description="The kinds of steps that it may sign for; without it, all."
    )


class RemotePart(Part):
    """A cache that a team shares. What its texts mean is checked where they are used, in ``remote``."""

    url: Text = Field(
        description="Where it is: s3://bucket/prefix, gs://, az://, https:// or file:///folder."
    )
    trust: tuple[Text | TrustedPart, ...] = Field(
        default=(), description="The public keys whose entries count; only a file:// remote may have none."
    )
    salt: Annotated[str, Strict()] = Field(
        default="", description="Where entries lie depends on it: who does not have it finds none."
    )


class Project(Part):
    """The whole table."""

    out: Text | None = Field(default=None, description="Where artifacts go; relative to this file.")
    cache: Text | None = Field(default=None, description="The store; relative to this file.")
    jobs: Annotated[Whole, Field(ge=1)] | None = Field(default=None, description="Actions side by side.")
    recipes: Annotated[tuple[Text, ...], Field(min_length=1)] | None = Field(
        default=None, description="What a command without recipes means: files, folders, globs."
    )
    precision: Precisions | None = Field(
        default=None, description="As in a recipe, for recipes without `precision`."
    )
    tolerance: Tolerances | None = Field(
        default=None, description="A table per precision, for those whose recipe names no tolerance."
    )
    remote: RemotePart | None = Field(default=None, description="A cache that a team shares.")


@dataclass(frozen=True)
class Defaults:
    """What stands in a recipe that says nothing of it, as the data of YAML.

    ``where`` is the file, as a person would name it; empty if there is none, or no table in it.
    """

    precision: Mapping[str, Any] | None = None
    tolerance: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""

    def fill(self, data: Mapping[Any, Any]) -> tuple[dict[Any, Any], frozenset[Route]]:
        """A recipe's data with these in it, and the routes to what was put there."""
        full = dict(data)
        routes: set[Route] = set()
        if self.precision is not None and "precision" not in full:
            full["precision"] = self.precision
            routes.add(("precision",))
        every = full.get("precision", {"fp32": {}})
        if not isinstance(every, Mapping):
            return full, frozenset(routes)
        known: dict[Any, Any] = dict(every)
        for name, knobs in every.items():
            if name in self.tolerance and _names_no_tolerance(knobs):
                known[name] = {**(knobs or {}), "tolerance": self.tolerance[name]}
                routes.add(("precision", name, "tolerance"))
        return ({**full, "precision": known} if known != every else full), frozenset(routes)


def _names_no_tolerance(knobs: Any) -> bool:
    if knobs is None:
        return True
    if not isinstance(knobs, Mapping):
        return False
    given = knobs.get("tolerance")
    if given is None and "tolerance" not in knobs:
        return True
    return (
        isinstance(given, Mapping)
        and bool(given)
        and all(key in TolerancePart.model_fields and value is None for key, value in given.items())
    )


NONE = Defaults()


def above(folder: Path) -> Defaults:
    """The defaults for the recipes in a folder.

    Raises:
        RecipeError: a project file cannot be read, or is wrong.
    """
    every = map(at, settings.candidates(str(folder)))
    return next((found for found in every if found.where), NONE)


def at(path: str) -> Defaults:
    """The defaults in the file of this name; ``NONE`` if there is none, or no table in it.

    Raises:
        RecipeError: it cannot be read, or is wrong.
    """
    try:
        data = settings.content(path)
    except OSError as error:
        why = f"cannot read the project file: {error.strerror}"
        raise RecipeError(Diagnostic(INVALID, why, "let it be read", settings.shown(path))) from error
    return NONE if data is None else read(data, settings.shown(path))


@functools.lru_cache(maxsize=8)  # a thousand recipes may share one
def read(text: str | bytes, where: str) -> Defaults:
    """The defaults in the text of a pyproject.toml; ``NONE`` if it has no ``[tool.modelbuild]``.

    Raises:
        RecipeError: the text is no TOML, or the table is wrong; with every mistake.
    """
    source = text if isinstance(text, bytes) else text.encode("utf-8", errors="surrogatepass")
    if len(source) <= settings.MOST_BYTES and not settings.may_speak(source):
        return NONE
    table = _table(source, where)
    if table is None:
        return NONE
    problems = list(_problems(table))
    if problems:
        raise RecipeError(Diagnostic(p.code, f"{TABLE}: {p.message}", p.hint, where) for p in problems)
    return Defaults(table.get("precision"), table.get("tolerance", {}), where)


def _table(source: bytes, where: str) -> dict[str, Any] | None:
    if len(source) > settings.MOST_BYTES:
        raise _refused("a project file is at most 1 MiB", "is this a pyproject.toml?", where)
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        raise _refused("not UTF-8 text", "save the file as UTF-8", f"{where}:{line}") from error
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.start()) + 1
        raise _refused(f"a key of more than {_MOST_PARTS} parts", "shorten it", f"{where}:{line}")
    try:
        return settings.table(text)
    except RecursionError as error:
        raise _refused("nested too deep", "is a bracket missing that closes?", where) from error
    except ValueError as error:
        said, place = str(error), where
        if at := re.search(r" \(at line (\d+), column (\d+)\)$", said):
            said, place = said[: at.start()], f"{where}:{at[1]}:{at[2]}"
        said = clean(said.removesuffix(" (at end of document)"), 200)
        hint = "look for a quote or a bracket that does not close"
        raise _refused(f"not valid TOML: {said}", hint, place) from error


def _problems(table: dict[str, Any]) -> list[Problem]:
    """What is wrong with the table: by itself, with its remote, with its precisions as those of a recipe."""
    shared = _remote_problems(table["remote"]) if table.get("remote") is not None else []
    try:
        project = Project.model_validate(table)
    except ValidationError as error:
        # What is wrong in a remote is told by the one reader of it, in its words.
        others = [
            e for e in error.errors(include_url=False)[:50] if e["loc"][:1] != ("remote",) or not shared
        ]
        return [*shared, *(worded(e, table, Project) for e in others)]
    if shared:
        return shared
    if project.precision is None:
        return []
    stand_in = Recipe.model_validate(
        {"name": "r", "model": {"import": "m:M"}, "inputs": {"x": {"shape": []}},
         "precision": table["precision"]}
    )  # fmt: skip
    return list(model_checks.precisions(stand_in))


def _remote_problems(table: Any) -> list[Problem]:
    try:
        configured.read(table, "")
    except RecipeError as error:
        found = error.diagnostics[0]
        said = found.message.removeprefix(f"{configured.TABLE}: ")
        return [Problem(("remote",), f"`remote`: {said}", found.hint or "")]
    return []


def _refused(message: str, hint: str, where: str) -> RecipeError:
    return RecipeError(Diagnostic(INVALID, message, hint, where))
