"""``modelbuild check``."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from modelbuild import settings
from modelbuild.base.escaping import line
from modelbuild.cli.commands import answers
from modelbuild.cli.commands import options as taken
from modelbuild.cli.terminal import github
from modelbuild.wording import output

if TYPE_CHECKING:
    from modelbuild.base.results import BuildResult

ABOUT = "find what is wrong without running the model's code"
EXAMPLES = """\
examples:
  modelbuild check configs                        safe on an untrusted pull request
  modelbuild check configs --changed-since main   only what this branch can touch
  modelbuild check configs --locked               and that the lock files are of these recipes
  modelbuild check r.yaml --resolved              the recipe with every default written out
"""


def run(options: argparse.Namespace) -> int:
    from modelbuild.building import checking

    result = checking.check(taken.request(options))
    if options.resolved:
        return _resolved(result, options.format)
    answers.answer(result, options.format, options.volume, since=options.changed_since)
    if options.volume == settings.VERBOSE and options.format == "text":
        output.show("\n".join(_planned(Path(r.recipe)) for r in result.recipes if not r.exit_code))
    return result.exit_code


def _resolved(result: BuildResult, how: str) -> int:
    """Print what the recipes mean; what is wrong goes to standard error, so that the rest is YAML."""
    from modelbuild.base.errors import RecipeError
    from modelbuild.recipe.resolving import resolve

    known = {}
    for told in result.recipes:
        with contextlib.suppress(RecipeError):  # it is among the errors
            known[told.recipe] = resolve(Path(told.recipe))
    for found in (d for r in result.recipes for d in r.diagnostics):
        output.tell(found.render())
    if how == "json":
        data = result.as_json()
        for recipe in data["recipes"]:
            if resolved := known.get(recipe["recipe"]):
                recipe |= {"resolved": resolved.data(), "origins": resolved.origins()}
        answers.as_json(data)
    elif known:
        output.say("\n---\n".join(resolved.text() for resolved in known.values()))
    github.tell(result)
    return result.exit_code


def _planned(path: Path) -> str:
    """What the recipe would make, and where its defaults come from."""
    from modelbuild.plan.planning import plan
    from modelbuild.recipe import defaults
    from modelbuild.recipe.loading import load

    names = [a.name for a in plan(load(path)).artifacts]
    file = defaults.above(path.parent).where
    return f"{line(str(path))} makes {', '.join(names)}" + (f", with the defaults of {file}" if file else "")
