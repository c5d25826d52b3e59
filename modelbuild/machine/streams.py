"""Standard input, output and error, which a caller may have closed.

Imported by every command: see ``state.format`` for what that asks of a module.
"""

import os
import sys


def complete() -> None:
    """Open what is closed of the three, on nothing: else the next file that is opened would be one of
    them, and Python has None in its place."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # as long as we are
