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
  modelbuild init my_package.net:Net --kwargs '{depth: 18}' --input x:batchx3x224x224
  modelbuild init --from begun.yaml -o whole.yaml
  modelbuild init --from-onnx models/detector.onnx -o detector.yaml
  modelbuild init --ci
"""


def run(options: argparse.Namespace) -> int:
    _agree(options)
    if options.ci:
        return _ci()
    from modelbuild.setup import drafting
    from modelbuild.setup.drafting.modeline import with_modeline

    if options.output is not None:
        drafting.must_be_new(options.output)  # before minutes are spent
    text = with_modeline(_drafted(options), options.output)
    if options.output is None:
        output.say(text, end="")
    else:
        drafting.save(text, options.output)
        output.show(
            f"wrote {line(str(options.output))}; edit it, then: modelbuild check {line(str(options.output))}"
        )
    return 0


def _drafted(options: argparse.Namespace) -> str:
    from modelbuild.setup import drafting
    from modelbuild.setup.drafting import asked

    said = asked.of_options(options.kwargs, options.inputs or [])
    patience = drafting.PATIENCE if options.patience is None else options.patience
    if patience and options.from_onnx is not None:
        output.tell(f"trying it for {patience:g} s at most; --patience sets that")
    elif patience:
        exports = patience * drafting.PATIENCES
        output.tell(
            f"trying it for {patience:g} s at most, its export for {exports:g} s; --patience sets that"
        )
    if options.from_onnx is not None:
        return drafting.draft_of_onnx(options.from_onnx, options.output, patience)
    if options.begun is not None:
        return drafting.draft_from(options.begun, options.output, patience)
    return drafting.draft(options.model, patience, said)


_ALONE = {
    "--ci": ("writes workflows into this folder", ("-o", "--patience", "--kwargs", "--input")),
    "--from": ("goes on from what a recipe says: write it there", ("--kwargs", "--input")),
    "--from-onnx": ("takes inputs and axes from the file", ("--kwargs", "--input")),
}
"""What goes with no such options, and why."""


def _agree(options: argparse.Namespace) -> None:
    """Refuse options that would be ignored."""
    from modelbuild.base.errors import Diagnostic, RecipeError

    given = {
        "--ci": options.ci or None, "--from": options.begun, "--from-onnx": options.from_onnx,
        "-o": options.output, "--patience": options.patience,
        "--kwargs": options.kwargs, "--input": options.inputs,
    }  # fmt: skip
    for way, (why, refused) in _ALONE.items():
        for option in refused:
            if given[way] is not None and given[option] is not None:
                message = f"{way} and {option} do not go together"
                raise RecipeError(Diagnostic("recipe-invalid", message, f"{way} {why}"))


def _ci() -> int:
    from modelbuild.setup import ci

    for path in ci.write(Path.cwd()):
        output.show(f"wrote {path}")
    return 0
