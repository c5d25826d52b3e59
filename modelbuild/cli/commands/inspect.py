"""``modelbuild inspect``."""

from __future__ import annotations

import argparse

from modelbuild.cli.commands import answers
from modelbuild.wording import output

ABOUT = "say what is in an ONNX file or an engine"
EXAMPLES = """examples:
  modelbuild inspect build/resnet50/resnet50.fp16.onnx
  modelbuild inspect --nodes build/bert/bert.fp32.onnx | grep Softmax
"""


def run(options: argparse.Namespace) -> int:
    from modelbuild import inspection

    found = inspection.inspect_file(options.file, nodes=options.nodes)
    if options.format == "json":
        answers.as_json(found)
    else:
        output.show(inspection.render(found))
    return 0
