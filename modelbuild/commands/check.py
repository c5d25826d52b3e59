"""``modelbuild check``."""

from __future__ import annotations

import argparse

from modelbuild.commands import answers
from modelbuild.commands import options as taken

ABOUT = "find what is wrong without running the model's code"
EXAMPLES = "example:\n  modelbuild check configs     safe on an untrusted pull request\n"


def options(parser: argparse.ArgumentParser) -> None:
    taken.recipes(parser)
    taken.output(parser)


def run(options: argparse.Namespace) -> int:
    from modelbuild import building

    return answers.answer(building.check(options.recipes), options.format)
