"""The one exit: all that a command prints for people goes out here, escaped and then painted."""

from __future__ import annotations

import sys
from typing import TextIO

from modelbuild.base.escaping import visible
from modelbuild.wording import colours, fitting


def say(text: str, end: str = "\n") -> None:
    """What was asked for, on standard output, as it is: an object, a document."""
    write(text, sys.stdout, end)


def show(text: str) -> None:
    """An answer in sentences and tables, on standard output, as wide as the terminal is."""
    write(fitting.fitted(text, fitting.width(sys.stdout)), sys.stdout)


def page(text: str) -> None:
    """A page of Markdown, on standard output, as a terminal shows it."""
    from modelbuild.wording import markdown

    shown = markdown.rendered(visible(text), fitting.width(sys.stdout), colours.wanted(sys.stdout))
    print(shown, file=sys.stdout)


def tell(text: str) -> None:
    """What there is to say beside it, on standard error, as wide as the terminal is."""
    write(fitting.fitted(text, fitting.width(sys.stderr)), sys.stderr)


def room() -> int | None:
    """How many characters a line of an answer may have; None where nothing says so."""
    return fitting.width(sys.stdout)


def write(text: str, stream: TextIO, end: str = "\n", flush: bool = False) -> None:
    """In colour, where the stream is a terminal that has it."""
    print(colours.painted(visible(text), stream), end=end, file=stream, flush=flush)
