"""``modelbuild audit``."""

from __future__ import annotations

import argparse

from modelbuild.cli.commands import answers

ABOUT = "find files that a model reads and no fact names"
EXAMPLES = "example:\n  modelbuild audit configs/resnet50.yaml     makes and exports it under strace\n"


def run(options: argparse.Namespace) -> int:
    from modelbuild.setup import auditing

    return answers.answer(auditing.audit(options.recipes), options.format)
