"""``modelbuild why``."""

from __future__ import annotations

import argparse

from modelbuild.cli.commands import answers
from modelbuild.cli.commands import options as taken
from modelbuild.wording import output

ABOUT = "say what moved since an artifact was built"
EXAMPLES = """\
examples:
  modelbuild why resnet50.fp16.onnx configs/resnet50.yaml
  modelbuild why resnet50.fp16.onnx configs --facts     every fact of the keys behind it
"""


def run(options: argparse.Namespace) -> int:
    from modelbuild.building import explaining
    from modelbuild.building.scheduling.runs import Silent
    from modelbuild.cli.terminal import reasons

    found = explaining.why(options.artifact, taken.request(options), Silent())
    if options.format == "json":
        answers.as_json(found.as_json())
    else:
        output.show(reasons.render(found, options.facts))
    return 0
