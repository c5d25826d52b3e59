"""``modelbuild build``."""

from __future__ import annotations

import argparse

from modelbuild.cli.commands import answers
from modelbuild.cli.commands import options as taken

ABOUT = "build what is not fresh"
EXAMPLES = """\
examples:
  modelbuild build configs/resnet50.yaml          build what is not fresh, into build/resnet50/
  modelbuild build configs --out dist -j 4        every recipe of a folder
  modelbuild build configs --changed-since main   in CI: only what this branch can touch
  modelbuild build configs/*.yaml --dry-run       what would be built, and why
  modelbuild build r.yaml --only '*.fp16*.onnx'   some artifacts, and what they need
  modelbuild build r.yaml --format json | jq .    for programs; progress goes to stderr
  modelbuild build r.yaml --in-process export     that step in this process, where breakpoint() stops

exit codes: 0 all right, 1 a step failed, 2 the recipe or the command line is wrong,
  3 built but not proven, 4 a toolchain that --require-engines asks for is missing, 130 interrupted
"""


def run(options: argparse.Namespace) -> int:
    from modelbuild.building import builds

    if options.in_process is not None:
        _make_way(options)
    request = taken.request(options)
    does = builds.foresee if options.dry_run else builds.build
    return answers.built(does, request, options.format, options.volume)


def _make_way(options: argparse.Namespace) -> None:
    """Have this process as one of a step's own, if it can still become that.

    Raises:
        RecipeError: standard output is for the answer alone.
    """
    from modelbuild.base.errors import Diagnostic, RecipeError
    from modelbuild.worker import here

    if options.format == "json":
        said = "--in-process does not go with --format json: standard output is the step's, too"
        raise RecipeError(Diagnostic("recipe-invalid", said, "leave one of them out"))
    here.seed()
