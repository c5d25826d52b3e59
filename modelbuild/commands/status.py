"""``modelbuild status``."""

from __future__ import annotations

import argparse

from modelbuild.commands import answers
from modelbuild.commands import options as taken

ABOUT = "say what is fresh or stale, and why"
EXAMPLES = "example:\n  modelbuild status configs     runs none of the models' code\n"


def options(parser: argparse.ArgumentParser) -> None:
    taken.recipes(parser)
    taken.places(parser)
    taken.only(parser)
    taken.output(parser)


def run(options: argparse.Namespace) -> int:
    from modelbuild import explaining
    from modelbuild.terminal import reasons
    from modelbuild.terminal.progress import Silent

    found = explaining.status(taken.request(options), Silent())
    if options.format == "json":
        answers.as_json(found.as_json())
    else:
        print(reasons.standing(found))
    return found.exit_code
