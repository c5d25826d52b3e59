"""Validate what can be validated: a recipe from the sound parts of broken data.

So that one run tells every mistake, the checks across fields get a recipe even if some values are
wrong. Wrong values are cut out, and what cannot do without them is cut out in turn; what is about
a cut value is not told, as it may be nothing but an echo.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from modelbuild.recipe.problems import Key, Problem, Route, overlaps
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.wording import meant_keys, route_of, worded

_STAND_INS: dict[str, Any] = {
    "model": {"import": "stand_in:Model"},
    "inputs": {"stand_in": {"shape": []}},
}
"""For what a recipe must have and has not."""


MOST = 200
"""Errors to work on one by one. Past that the checks across fields are left for another run: the
work grows with errors times values, and a recipe may be anyone's."""


@dataclass
class Sieve:
    """Data on its way to a recipe, its default name, and what had to be cut out of it."""

    data: dict[str, Any]
    name: str
    written: dict[str, Any]  # the data without what a project file put there: what words are about
    cut: set[Route] = field(default_factory=set)
    tainted: set[Route] = field(default_factory=set)
    stand_ins: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def sift(self) -> Recipe | None:
        """The recipe of the sound parts. ``problems`` are the mistakes as they stood at first."""
        errors = self._validated()
        if isinstance(errors, Recipe):
            return errors
        meant = meant_keys(errors[:MOST], self.written)
        told = [e for e in errors[:MOST] if e["type"] == "extra_forbidden" or not self._echo(e, meant)]
        self.problems += [worded(error, self.written) for error in told]
        self.tainted |= meant
        while not isinstance(errors, Recipe):
            if len(errors) > MOST:
                return None
            wrong = [(self.original(route_of(e)[0]), e["type"] == "missing") for e in errors]
            for route, missing in wrong:
                self._cut_out(route, missing)
            errors = self._validated()
        return errors

    def sound(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """Those of a sifted recipe that are about sound values only, with their true routes."""
        for problem in problems:
            route = self.original(problem.route)
            patterns = (route, *(self.original(need) for need in problem.needs))
            if not any(overlaps(p, taint) for p in patterns for taint in self.tainted):
                yield replace(problem, route=route)

    def original(self, route: Route) -> Route:
        """The route in the data as written: in a list that lost items, the others moved up."""
        true: Route = ()
        here: Any = self.data
        for step in route:
            if isinstance(here, list) and isinstance(step, int):
                kept = [i for i in range(len(here)) if (*true, i) not in self.cut]
                true = (*true, kept[step] if step < len(kept) else step)
            else:
                true = (*true, step)
            here = _inside(here, true[-1])
        return true

    def _echo(self, error: ErrorDetails, meant: set[Route]) -> bool:
        """Whether it repeats what the reader said of this value, or what a misspelt key says."""
        loc = error["loc"]
        # Too short only because what was in it could not be read, or was wrong itself.
        emptied = error["type"] == "too_short" and (error["input"] or (*loc, "") in self.tainted)
        return bool(emptied) or loc in self.tainted or loc in meant

    def _validated(self) -> Recipe | list[ErrorDetails]:
        kept = _without(self.data, self.cut, ())
        try:
            return Recipe.model_validate({"name": self.name, **kept, **self.stand_ins})
        except ValidationError as error:
            return error.errors(include_url=False)

    def _cut_out(self, route: Route, missing: bool) -> None:
        """Cut the value out, or what cannot be without it. Every call leaves less."""
        self.tainted.add(route)
        if missing and len(route) == 1:
            self.stand_ins[str(route[0])] = _STAND_INS[str(route[0])]
            return
        if missing:
            route = route[:-1]
        while len(route) > 1 and (route in self.cut or not _holds(self.data, route)):
            route = route[:-1]
        self.tainted.add(route)
        self.cut.add(route)


def _inside(value: Any, step: Key) -> Any:
    """What stands at ``step``; None where nothing can."""
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None


def _holds(value: Any, route: Route) -> bool:
    for step in route[:-1]:
        value = _inside(value, step)
    last = route[-1]
    if isinstance(value, list):
        return isinstance(last, int) and last < len(value)
    return isinstance(value, dict) and last in value


def _without(value: Any, cut: set[Route], route: Route) -> Any:
    if isinstance(value, dict):
        kept = {key: (*route, key) for key in value if (*route, key) not in cut}
        return {key: _without(value[key], cut, inner) for key, inner in kept.items()}
    if isinstance(value, list):
        return [_without(item, cut, (*route, i)) for i, item in enumerate(value) if (*route, i) not in cut]
    return value
