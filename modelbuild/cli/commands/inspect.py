"""``modelbuild inspect``."""

from __future__ import annotations

import argparse
from pathlib import Path

from modelbuild.cli.commands import answers
from modelbuild.cli.commands import options as taken
from modelbuild.wording import output

ABOUT = "say what is in an ONNX file or an engine"
EXAMPLES = """examples:
  modelbuild inspect build/resnet50/resnet50.fp16.onnx
  modelbuild inspect --nodes build/bert/bert.fp32.onnx | grep Softmax
"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--nodes", action="store_true",
                        help="every node of an ONNX file by name, with the model's line")  # fmt: skip
    taken.output(parser)


def run(options: argparse.Namespace) -> int:
    from modelbuild import inspection

    found = inspection.inspect_file(options.file, nodes=options.nodes)
    if options.format == "json":
        answers.as_json(found)
    else:
        output.show(inspection.render(found))
    return 0
