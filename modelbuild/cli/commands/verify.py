"""``modelbuild verify``."""

from __future__ import annotations

import argparse

from modelbuild.cli.commands import answers
from modelbuild.cli.commands import options as taken

ABOUT = "measure the published artifacts against PyTorch again"
EXAMPLES = "example:\n  modelbuild verify configs/resnet50.yaml --format json\n"


def run(options: argparse.Namespace) -> int:
    from modelbuild.building import builds

    return answers.built(builds.verify, taken.request(options), options.format, options.volume)
