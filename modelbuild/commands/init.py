"""``modelbuild init``."""

from __future__ import annotations

import argparse
from pathlib import Path

ABOUT = "write a first recipe from a model's signature"
EXAMPLES = """\
examples:
  modelbuild init transformers:BertModel -o bert.yaml
  modelbuild init my_package.net:Net
"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="IMPORT", help="package.module:attribute")
    parser.add_argument("-o", "--output", type=Path, help="write there; standard output otherwise")


def run(options: argparse.Namespace) -> int:
    from modelbuild import drafting

    text = drafting.draft(options.model)
    if options.output is None:
        print(text, end="")
    else:
        drafting.save(text, options.output)
        print(f"wrote {options.output}; edit it, then: modelbuild check {options.output}")
    return 0
