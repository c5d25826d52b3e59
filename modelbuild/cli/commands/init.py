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
