"""The one exit: all that a command prints for people goes out here, escaped and then painted."""

from __future__ import annotations

import sys
from typing import TextIO

from modelbuild.base.escaping import visible
from modelbuild.wording import colours


def say(text: str, end: str = "\n") -> None:
    """What was asked for, on standard output."""
    write(text, sys.stdout, end)


def tell(text: str) -> None:
    """What there is to say beside it, on standard error."""
    write(text, sys.stderr)


def write(text: str, stream: TextIO, end: str = "\n", flush: bool = False) -> None:
    """In colour, where the stream is a terminal that has it."""
    print(colours.painted(visible(text), stream), end=end, file=stream, flush=flush)
