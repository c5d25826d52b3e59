"""``modelbuild init``."""

from __future__ import annotations

import argparse
from pathlib import Path

from modelbuild.base.escaping import line
from modelbuild.wording import output

ABOUT = "write a first recipe from a model, or the files that CI needs"
EXAMPLES = """\
examples:
  modelbuild init transformers:BertModel -o bert.yaml
  modelbuild init my_package.net:Net
  modelbuild init --from-onnx models/detector.onnx -o detector.yaml
  modelbuild init --ci
"""


def options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("model", metavar="IMPORT", nargs="?",
                      help="package.module:attribute: a model, its class, or what returns one")  # fmt: skip
    what.add_argument("--from-onnx", type=Path, metavar="FILE", help="an ONNX file instead")
    what.add_argument("--ci", action="store_true", help="workflows for CI, into this folder")
    parser.add_argument("--patience", type=_seconds, metavar="SECONDS",
                        help="how long to try the model (30); 0: only read it")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="FILE",
                        help="write the recipe there; standard output otherwise")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    if options.ci:
        return _ci(options)
    from modelbuild.setup import drafting

    if options.output is not None:
        drafting.must_be_new(options.output)  # before minutes are spent
    patience = drafting.PATIENCE if options.patience is None else options.patience
    if patience:
        output.tell(f"trying it for {patience:g} s at most; --patience sets that")
    if options.from_onnx is not None:
        text = drafting.draft_of_onnx(options.from_onnx, options.output, patience)
    else:
        text = drafting.draft(options.model, patience)
    if options.output is None:
        output.say(text, end="")
    else:
        drafting.save(text, options.output)
        output.show(
            f"wrote {line(str(options.output))}; edit it, then: modelbuild check {line(str(options.output))}"
        )
    return 0


def _ci(options: argparse.Namespace) -> int:
    from modelbuild.base.errors import Diagnostic, RecipeError
    from modelbuild.setup import ci

    for option, value in (("-o", options.output), ("--patience", options.patience)):
        if value is not None:
            message = f"--ci and {option} do not go together"
            raise RecipeError(Diagnostic("recipe-invalid", message, "--ci writes workflows into this folder"))
    for path in ci.write(Path.cwd()):
        output.show(f"wrote {path}")
    return 0


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, from 0 to 86400")
    return found
