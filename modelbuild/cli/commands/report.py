"""``modelbuild report``."""

from __future__ import annotations

import argparse

from modelbuild import settings
from modelbuild.base.escaping import line
from modelbuild.cli.commands import options as taken
from modelbuild.wording import output

ABOUT = "one HTML file that shows what was built, how well, and at what cost"
EXAMPLES = """\
examples:
  modelbuild report                               every recipe that was built into build/
  modelbuild report configs/resnet50.yaml         one of them
  modelbuild report configs -o out/models.html    somewhere else

nothing of the models' code runs; the file needs no network and no other file
"""


def run(options: argparse.Namespace) -> int:
    from modelbuild.cli.terminal import progress
    from modelbuild.views import reporting

    reporter = progress.reporter(options.volume)
    try:
        written = reporting.write(taken.request(options), options.output, reporter)
    finally:
        if isinstance(reporter, progress.Live):
            reporter.close()
    if options.volume != settings.QUIET:
        output.show(f"{line(str(written.path))}: {written.told()}")
    return 0
