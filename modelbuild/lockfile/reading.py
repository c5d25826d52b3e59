"""A lock from text, or every mistake in it with its place."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from modelbuild.base.errors import RecipeError
from modelbuild.lockfile.values import VERSION, Lock
from modelbuild.recipe.excerpts import diagnostics
from modelbuild.recipe.problems import Mark, Problem, Route, clean, described, dotted
from modelbuild.recipe.reading import read as read_yaml

if TYPE_CHECKING:
    from pydantic import TypeAdapter

INVALID: Final = "lock-invalid"
HINT = "take the last good one from version control, or write it anew: `modelbuild build --lock`"


def read(source: str | bytes, where: str) -> Lock:
    """The lock in a text.

    Raises:
        RecipeError: ``lock-invalid``, with each place as ``where:line:column``.
    """
    document = read_yaml(source)
    problems = list(document.problems)
    lock: Lock | None = None
    conflict = next((i for i, line in enumerate(document.lines) if line.startswith("<<<<<<< ")), None)
    if conflict is not None:
        mark = Mark(conflict, 0, conflict, len(document.lines[conflict]))
        problems = [Problem((), "an unresolved merge conflict", HINT, mark=mark)]
    elif document.root is not None and not problems:
        lock, problems = _validated(document.root.data)
    if lock is not None:
        return lock
    # The reader speaks of recipes.
    told = [
        replace(p, code=INVALID, message=p.message.replace("recipe is", "lock file is"), hint=HINT)
        for p in problems
    ]
    raise RecipeError(diagnostics(document, told, where))


def _validated(data: Any) -> tuple[Lock | None, list[Problem]]:
    from pydantic import ValidationError

    if not isinstance(data, dict) or "lock" not in data:
        return None, [Problem((), f"a lock file begins with `lock: {VERSION}`", HINT)]
    version = data["lock"]
    known = type(version) is int  # and not true, which equals 1
    if known and version > VERSION:
        message = f"the lock file has version {version}, and this modelbuild reads {VERSION}: it is too old"
        return None, [Problem(("lock",), message, HINT)]
    if known and 0 < version < VERSION:
        message = f"the lock file has version {version}, and this modelbuild reads {VERSION}"
        return None, [Problem(("lock",), message, "write it anew: `modelbuild build --lock`")]
    if not known or version != VERSION:
        return None, [Problem(("lock",), f"`lock` must be {VERSION}, not {described(version)}", HINT)]
    try:
        rest = {key: value for key, value in data.items() if key != "lock"}
        return _adapter().validate_python(rest), []
    except ValidationError as error:
        # A value that may have two types is told once for each: the first will do.
        problems: dict[Route, Problem] = {}
        for wrong in error.errors(include_url=False):
            found = _worded(wrong["type"], wrong["loc"], wrong["msg"])
            problems.setdefault(found.route if wrong["type"] != "missing" else wrong["loc"], found)
        return None, list(problems.values())


@functools.cache
def _adapter() -> TypeAdapter[Lock]:
    """Made once: it takes 9 ms, and a command may read a thousand lock files."""
    from pydantic import TypeAdapter

    return TypeAdapter(Lock)


def _worded(kind: str, loc: Route, said: str) -> Problem:
    route = tuple(step for step in loc if step not in ("float", "str"))  # the type that was tried
    if kind == "missing":
        return Problem(route[:-1], f"missing `{dotted(route)}`", HINT)
    if kind == "unexpected_keyword_argument":
        return Problem(route, f"unknown key `{dotted(route)}`", HINT, on_key=True)
    return Problem(route, f"`{dotted(route)}`: {said[:1].lower()}{clean(said[1:], 100)}", HINT)
