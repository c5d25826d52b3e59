"""What a command prints at its end: a table for people, one object for programs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelbuild.request import Request
    from modelbuild.results import BuildResult


def as_json(data: Any) -> None:
    print(json.dumps(data, indent=1))


def built(request: Request, how: str) -> int:
    """Run a build with its progress on standard error, and answer."""
    from modelbuild import building
    from modelbuild.terminal import progress

    reporter = progress.reporter()
    try:
        result = building.build(request, reporter)
    finally:
        if isinstance(reporter, progress.Live):
            reporter.close()
    return answer(result, how)


def answer(result: BuildResult, how: str) -> int:
    """Print a result as ``how`` says. Returns its exit code."""
    from modelbuild.terminal import summary

    if how == "json":
        as_json(result.as_json())
        for recipe in result.recipes:
            for found in recipe.diagnostics:
                if found.level == "error":
                    print(found.render(), file=sys.stderr)
    else:
        print(summary.render(result))
    return result.exit_code
