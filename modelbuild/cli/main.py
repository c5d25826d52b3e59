"""Arguments in, exit code out. The one place that catches."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from modelbuild import settings
from modelbuild.base.catalogue import EXIT_INTERRUPTED, EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic, ModelbuildError, first_line
from modelbuild.base.escaping import line
from modelbuild.building import settling
from modelbuild.cli import arguments
from modelbuild.cli.commands import answers
from modelbuild.cli.commands.options import needs_recipes, settled_by
from modelbuild.cli.terminal import github
from modelbuild.wording import output


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns its exit code; never raises for a user's mistake."""
    # A message may quote what this terminal's encoding does not have.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if argv is None else argv)
    with github.guarded(_asks_for_json(given)):
        return _run(given)


def _run(given: Sequence[str]) -> int:
    try:
        options = arguments.parser().parse_args(given)
    except arguments.Misused as wrong:
        if _asks_for_json(given):
            _print_failure(Diagnostic("recipe-invalid", wrong.said, wrong.hint))
        raise
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, a child's exit code is lost
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        _settle(options)
        return int(options.run(options))
    except KeyboardInterrupt:
        output.tell("interrupted")
        if _asks_for_json(given):
            _print_failure()
        return EXIT_INTERRUPTED
    except ModelbuildError as error:
        _complain(error.diagnostics, options)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_STEP_FAILED
    except OSError as error:
        place = f"{line(str(error.filename))}: " if error.filename else ""
        diagnostic = Diagnostic(
            "system-error", f"{place}{error.strerror or error}", "check the path and the disk"
        )
        _complain((diagnostic,), options)
        return EXIT_STEP_FAILED
    except Exception as error:
        # Nobody foresaw it: the traceback is for the report, and a program still gets its object.
        import traceback

        output.tell(traceback.format_exc().rstrip("\n"))
        diagnostic = Diagnostic("step-failed", f"modelbuild itself failed: {first_line(error)}",
                          "please report this with the traceback")  # fmt: skip
        _complain((diagnostic,), options)
        return EXIT_STEP_FAILED


def _settle(options: argparse.Namespace) -> None:
    """Put a value where the command line leaves one open."""
    asked = {name: getattr(options, name) for name in settled_by(options.command)}
    if asked.get("recipes") == []:  # argparse has no other word for none
        asked["recipes"] = None
    for name, value in settling.settled(asked, needs_recipes(options.command)).items():
        setattr(options, name, Path(value) if name in ("out", "cache_dir") else value)
    if getattr(options, "volume", settings.NORMAL) != settings.QUIET:
        for name, meant in settling.misspelt(os.environ).items():
            said = f"modelbuild knows no variable {name}: did you mean {meant}?"
            output.tell(f"warning: {said}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _complain(diagnostics: Sequence[Diagnostic], options: argparse.Namespace) -> None:
    for found in diagnostics:
        output.tell(found.render())
    github.annotate(("", found) for found in diagnostics)
    if hasattr(options, "format") and (options.format or os.environ.get("MODELBUILD_FORMAT")) == "json":
        _print_failure(*diagnostics)


def _print_failure(*diagnostics: Diagnostic) -> None:
    """The answer of a command that did not come as far as its recipes."""
    rows = [d.as_json() for d in diagnostics]
    recipe = {"recipe": "", "name": "", "status": "failed", "diagnostics": rows, "artifacts": []}
    answers.as_json({"schema": 1, "ok": False, "recipes": [recipe]})


def _asks_for_json(given: Sequence[str]) -> bool:
    """Whether a program reads the answer, also of a command line that cannot be parsed."""
    if any(a.partition("=")[0] == "--format" for a in given):
        pairs = zip(given, [*given[1:], ""], strict=True)
        return any(a == "--format=json" or (a, b) == ("--format", "json") for a, b in pairs)
    return os.environ.get("MODELBUILD_FORMAT") == "json"
