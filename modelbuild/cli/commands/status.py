"""``modelbuild status``."""

from __future__ import annotations

import argparse

from modelbuild.cli.commands import answers
from modelbuild.cli.commands import options as taken
from modelbuild.wording import output

ABOUT = "say what is fresh or stale, and why"
EXAMPLES = """\
examples:
  modelbuild status configs       runs none of the models' code
  modelbuild status configs -v    also where things are, and what the last build had to say
"""


def run(options: argparse.Namespace) -> int:
    from modelbuild import settings
    from modelbuild.building import explaining
    from modelbuild.building.scheduling.runs import Silent
    from modelbuild.cli.terminal import github, progress, reasons

    request = taken.request(options)
    if options.volume == settings.VERBOSE:
        output.tell(progress.places(request))
    found = explaining.status(request, Silent())
    if options.format == "json" or options.volume == settings.QUIET or not found.recipes:
        return answers.answer(found, options.format, options.volume, since=options.changed_since)
    output.show(reasons.standing(found, options.volume == settings.VERBOSE))
    github.tell(found)
    return found.exit_code
