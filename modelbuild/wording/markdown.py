"""A page of Markdown as a terminal shows it: what our own pages have of it, and no more.

Headings are upper case, paragraphs are filled anew, code is set in. Where there is colour, what stands
between backticks is bold and loses them; plain text keeps them, since nothing else tells a name from a word.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from modelbuild.wording import fitting

WIDTH = 80  # columns, where nothing says how wide it is
_WIDEST = 100  # longer lines are hard to read
_BOLD, _PLAIN = "\033[1m", "\033[22m"
_INSET = "    "  # of code
_FENCE = "```"
_COMMENT = re.compile(r"<!--.*?-->\n*", re.DOTALL)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_ITEM = re.compile(r"(?P<mark>[-*]|\d+\.) +")
_CODE = re.compile(r"`([^`]+)`")


def rendered(text: str, room: int | None, styled: bool) -> str:
    """The page in lines of ``room`` characters, with escape sequences if it is ``styled``.

    A line of code stays as it is; one of what was printed (in a block that says no language) is broken
    between words.
    """
    width = min(room or WIDTH, _WIDEST)
    return "\n\n".join(_shown(part, width, styled) for part in _parts(_COMMENT.sub("", text)))


def _parts(text: str) -> Iterator[str]:
    """Paragraphs, headings, items of lists and blocks of code, each with its lines."""
    held: list[str] = []
    fenced = False
    for line in text.splitlines():
        fence = line.startswith(_FENCE)
        begins = not fenced and (fence or not line.strip() or line.startswith("#"))
        if held and begins:
            yield "\n".join(held)
            held = []
        if fenced or line.strip():
            held.append(line)
        if (fenced and fence) or (not fenced and line.startswith("#")):
            yield "\n".join(held)
            held = []
        fenced ^= fence
    if held:
        yield "\n".join(held)


def _shown(part: str, width: int, styled: bool) -> str:
    if part.startswith(_FENCE):
        return _block(part, width)
    if part.startswith("# "):
        return _bold(part.lstrip("# "), styled)
    if part.startswith("#"):
        return _bold(part.lstrip("# ").upper(), styled)
    filled = "\n".join(_filled(item, width) for item in _items(part))
    return _CODE.sub(lambda code: f"{_BOLD}{code[1]}{_PLAIN}", filled) if styled else filled


def _block(part: str, width: int) -> str:
    first, *lines = part.splitlines()
    shown = [line for line in lines if line != _FENCE]
    if first == _FENCE:
        shown = fitting.fitted("\n".join(shown), width - len(_INSET)).split("\n")
    return "\n".join(f"{_INSET}{line}".rstrip() for line in shown)


def _items(part: str) -> list[str]:
    """The items of a list, each with the lines that go on with it; or the one paragraph."""
    found: list[str] = []
    for line in part.splitlines():
        if found and not _ITEM.match(line):
            found[-1] += f" {line.strip()}"
        else:
            found.append(line.strip())
    return found


def _filled(paragraph: str, width: int) -> str:
    said = _LINK.sub(_linked, paragraph)
    item = _ITEM.match(said)
    inset = " " * len(item[0]) if item else ""
    return textwrap.fill(said, width, subsequent_indent=inset, break_long_words=False, break_on_hyphens=False)


def _linked(link: re.Match[str]) -> str:
    """The words of a link; its address too, if it leads out of the pages."""
    return f"{link[1]} ({link[2]})" if "://" in link[2] else link[1]


def _bold(text: str, styled: bool) -> str:
    return f"{_BOLD}{text}{_PLAIN}" if styled else text
