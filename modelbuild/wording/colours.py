"""Colour, where it is wanted: on a terminal that has it, unless ``NO_COLOR`` is set.

Text is made without it, and painted line by line when it is printed: so a pipe, a file and the state
files of the fast path, which imports this for a terminal, hold the same text.
"""

import os

TYPE_CHECKING = False  # see ``state.format``
if TYPE_CHECKING:
    from typing import TextIO

_STATUSES = {
    "built": "32",
    "fresh": "32",
    "fetched": "32",
    "remote": "36",
    "cached": "2",
    "skipped": "2",
    "stale": "33",
    "blocked": "33",
    "failed": "31",
}
_STARTS = (
    ("error[", "1;31"),
    ("warning[", "1;33"),
    ("warning: ", "1;33"),
    ("info[", "1;36"),
    ("failed: ", "1;31"),
    ("hint: ", "2"),
)


def wanted(stream: "TextIO | None") -> bool:
    """Whether escape sequences may go there: see no-color.org."""
    if stream is None or os.environ.get("NO_COLOR"):
        return False
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    except ValueError:  # it is closed
        return False


def painted(text: str, stream: "TextIO | None") -> str:
    """A text for a stream: in colour if that is wanted there."""
    return "\n".join(map(_line, text.split("\n"))) if wanted(stream) else text


def _line(line: str) -> str:
    for start, code in _STARTS:
        if line.startswith(start):
            end = len(line) if code == "2" else line.find(":") + 1
            return _in(code, line[:end]) + line[end:]
    if not line.startswith("  "):
        return line
    for word in line.split(None, 2)[:2]:  # the status comes first, or after the artifact's name
        if word in _STATUSES:
            before, _, after = line.partition(f" {word}")
            return f"{before} {_in(_STATUSES[word], word)}{after}"
    return line


def _in(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m"
