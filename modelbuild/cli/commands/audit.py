"""``modelbuild audit``."""

from __future__ import annotations

import argparse

from modelbuild.cli.commands import answers
from modelbuild.cli.commands import options as taken

ABOUT = "find files that a model reads and no fact names"
EXAMPLES = "example:\n  modelbuild audit configs/resnet50.yaml     makes and exports it under strace\n"


def options(parser: argparse.ArgumentParser) -> None:
    taken.recipes(parser)
    taken.output(parser)


def run(options: argparse.Namespace) -> int:
    from modelbuild.setup import auditing

    return answers.answer(auditing.audit(options.recipes), options.format)
