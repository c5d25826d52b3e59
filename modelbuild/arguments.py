"""The command line as a whole: what is common to the commands, and each of them with its options."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from modelbuild import commands
from modelbuild.errors import EXIT_USAGE


class Misused(SystemExit):
    """The command line cannot be parsed. Ends the process as argparse would, if nobody catches it."""

    def __init__(self, said: str) -> None:
        super().__init__(EXIT_USAGE)
        self.said = said


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        print(f"{self.prog}: error: {message}", file=sys.stderr)
        raise Misused(message)


def parser() -> argparse.ArgumentParser:
    """Of the whole command line; what it parses has the function to ``run``."""
    parser = _Parser(
        prog="modelbuild",
        description="Build proven ONNX files and TensorRT engines from recipes.",
        epilog="Start with: modelbuild init transformers:BertModel -o bert.yaml",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    every = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in commands.ALL.items():
        about = command.ABOUT
        one = every.add_parser(
            name, help=about, description=about[0].upper() + about[1:] + ".", epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        one.set_defaults(run=command.run)
        command.options(one)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version

        print(f"modelbuild {version('modelbuild')}")
        parser.exit()
