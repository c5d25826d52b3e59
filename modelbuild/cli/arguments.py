"""The command line as a whole: what is common to the commands, and each of them with its options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from modelbuild import settings
from modelbuild.base.catalogue import EXIT_USAGE
from modelbuild.base.escaping import line
from modelbuild.cli import commands
from modelbuild.cli.commands import options
from modelbuild.wording import output
from modelbuild.wording.phrases import meant, nearest


class Misused(SystemExit):
    """The command line cannot be parsed. Ends the process as argparse would, if nobody catches it."""

    def __init__(self, said: str, hint: str) -> None:
        super().__init__(EXIT_USAGE)
        self.said = said
        self.hint = hint


class _Parser(argparse.ArgumentParser):
    """Also of each command: an option that it does not have is told with those that it has."""

    meant: str | None = None  # the word for one that it does not know, if one is near
    behind_dashes: str | None = None  # the name of the words after ``--``, if it takes such

    def error(self, message: str) -> NoReturn:
        hint = meant(self.meant) or f"`{self.prog} --help` shows what there is"
        self.print_usage(sys.stderr)
        output.tell(f"{self.prog}: error: {line(message)}\nhint: {hint}")
        raise Misused(message, hint)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words, behind = args, list[str]()
        if self.behind_dashes:  # argparse forgets where ``--`` stood, and a path would be taken for a word
            words, behind = _parted(args or ())
        known, unknown = super().parse_known_args(words, namespace)
        if self.behind_dashes:
            setattr(known, self.behind_dashes, tuple(behind))
        if unknown:
            options = {name.lstrip("-"): name for name in self._option_string_actions}
            near = nearest(unknown[0].partition("=")[0].lstrip("-"), options)
            self.meant = options[near] if near else None
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            self.meant = nearest(str(value), map(str, action.choices))
            if isinstance(action, argparse._SubParsersAction) and _is_of_a_recipe(str(value)):
                self.meant = f"{self.prog} build {value}"
        super()._check_value(action, value)


def parser() -> argparse.ArgumentParser:
    """Of the whole command line; what it parses has the function to ``run``."""
    parser = _Parser(
        prog="modelbuild",
        description="Build proven ONNX files and TensorRT engines from recipes.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    every = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in commands.ALL.items():
        about = command.ABOUT
        one = every.add_parser(
            name, help=about, description=about[0].upper() + about[1:] + ".", epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        one.set_defaults(run=command.run, command=name)
        options.add(name, one)
        one.behind_dashes = next((o.name for o in options.of(name) if o.behind_dashes), None)
    parser.set_defaults(parser=parser)  # completion is about all of it
    return parser


def _is_of_a_recipe(word: str) -> bool:
    """Whether somebody names a recipe, or a folder, where a command stands."""
    return word.endswith((".yaml", ".yml")) or os.path.isdir(word)


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before ``--``, and behind it."""
    at = words.index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at + 1 :])


def _epilog() -> str:
    width = max(map(len, settings.VARIABLES))
    rows = "\n".join(f"  {name:{width}}  {about}" for name, about in settings.VARIABLES.items())
    return f"""\
environment variables, which the command line overrides:
{rows}
  {"NO_COLOR":{width}}  anything: no colour, and no other escape sequences

A pyproject.toml may have defaults in [tool.modelbuild]: out, cache, jobs, recipes, precision, tolerance.

Start with: modelbuild init transformers:BertModel -o bert.yaml"""


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        output.say(f"modelbuild {version('modelbuild')}")
        parser.exit()
