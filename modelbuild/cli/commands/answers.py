"""What a command prints at its end: a table for people, one object for programs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from modelbuild import settings
from modelbuild.cli.terminal import github
from modelbuild.wording import output

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelbuild.base.results import BuildResult
    from modelbuild.building.request import Request
    from modelbuild.building.scheduling.runs import Reporter


def as_json(data: Any) -> None:
    output.say(json.dumps(data, indent=1))


def built(
    does: Callable[[Request, Reporter], BuildResult],
    request: Request,
    how: str,
    volume: int = settings.NORMAL,
) -> int:
    """Do this (a function of ``building.builds``) with its progress on standard error, and answer."""
    from modelbuild.cli.terminal import progress

    started = time.monotonic()
    if volume == settings.VERBOSE:
        output.tell(progress.places(request))
    reporter = progress.reporter(volume, shared=request.in_process is not None)
    try:
        result = does(request, reporter)
    finally:
        if isinstance(reporter, progress.Live):
            reporter.close()
    github.summarise(result)
    return answer(result, how, volume, time.monotonic() - started, request.changed_since)


def answer(
    result: BuildResult,
    how: str,
    volume: int = settings.NORMAL,
    seconds: float = -1,
    since: str | None = None,
) -> int:
    """Print a result as ``how`` says. Returns its exit code.

    ``seconds`` is what it took, if that matters; ``since`` the revision since which recipes were
    looked for that changed.
    """
    from modelbuild.cli.terminal import summary

    if how == "json":
        as_json(result.as_json())
        for recipe in result.recipes:
            for found in recipe.diagnostics:
                if found.level == "error":
                    output.tell(found.render())
    elif volume == settings.QUIET:
        if wrong := summary.errors(result):
            output.tell(wrong)
    elif since is not None and not result.recipes:
        output.show(f"nothing changed since {since}")
    else:
        output.show(summary.render(result, seconds, volume == settings.VERBOSE, output.room()))
    github.tell(result)
    return result.exit_code
