"""Text of others as text: a name on a disk, in a recipe or in a model may hold anything.

A terminal obeys escape sequences, and direction marks turn around what stands beside them: both are
written as their numbers, as Python and YAML write them. What has a format of its own (HTML, DOT,
Markdown, a runner's commands) escapes that on top of this.
"""

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, keep: str = "\n\t") -> str:
    """The text with a number in the place of whatever cannot be seen, but for what is in ``keep``."""
    bare = text
    for c in keep:
        bare = bare.replace(c, "")
    if bare.isprintable():  # most of it, and the whole of it is looked at faster than each character
        return text
    return "".join(c if c.isprintable() or c in keep else number(c) for c in text)


def line(text: str, limit: int | None = None) -> str:
    """The text on one line, the end cut off where it is longer than ``limit``."""
    cut = text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
    return visible(cut, keep="")


def masked(text: str) -> str:
    """The text with one sign for each character that cannot be seen: columns stay what they are."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def number(c: str) -> str:
    """``\\x1b``, ``\\u202e``; the three that have a letter have that: ``\\n``."""
    code = ord(c)
    return _SHORT.get(c) or (
        f"\\x{code:02x}" if code < 2**8 else f"\\u{code:04x}" if code < 2**16 else f"\\U{code:08x}"
    )
