"""Parts of sentences that many sentences have: a size, a few of many names, the name that was meant."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Sequence

from modelbuild.base.escaping import line

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def size(count: int | None) -> str:
    """Bytes, as all of modelbuild tells them: powers of 1024, ``1.4 GiB``; nothing for None."""
    if count is None:
        return ""
    if count < 1024:
        return f"{count} B"
    value, units = count / 1024, iter(_UNITS)
    unit = next(units)
    while value >= 1023.95 and unit != _UNITS[-1]:  # "1024.0 KiB" is "1.0 MiB"
        value, unit = value / 1024, next(units)
    return f"{value:.1f} {unit}"


def span(seconds: float) -> str:
    """``40 s``, ``12 min``, ``2.5 h``: as much of a time as matters."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plural(count: int, noun: str) -> str:
    """``1 artifact``, ``2 artifacts``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def headroom(value: float | None) -> str:
    """Tolerance / error, as all of modelbuild tells it: ``x4.97``; ``exact`` where nothing differs (None)."""
    if value is None:
        return "exact"
    return f"x{value:.3g}" if value < 1000 else f"x{value:,.0f}" if value < 1e6 else f"x{value:.0e}"


def few(texts: Sequence[str], most: int, between: str = ", ", of: str = "") -> str:
    """The first ``most`` of these, and how many more: ``a, b and 3 more``."""
    rest = len(texts) - most
    more = f"{between.strip(', ')} and {rest} more{of}" if rest > 0 else ""
    return between.join(texts[:most]) + more


def listed(names: Iterable[object], most: int = 12) -> str:
    """Names in backticks; past ``most``, how many more."""
    return few([f"`{name}`" for name in names], most)


def nearest(
    word: str, names: Iterable[str], *, likeness: float = 0.6, longest: int = 60, most: int = 100
) -> str | None:
    """The name that was meant, if one is near; the first of several that are equally near.

    Matching takes time, and a recipe may be anyone's: long words and long lists are cut short.
    """
    if len(word) > longest:
        return None
    matcher = difflib.SequenceMatcher(b=word.casefold())
    best = None
    for name in itertools.islice(names, most):
        matcher.set_seq1(name.casefold())
        bounds = (matcher.real_quick_ratio, matcher.quick_ratio)  # from above, and sooner told
        if all(bound() > likeness for bound in bounds) and matcher.ratio() > likeness:
            best, likeness = name, matcher.ratio()
    return best


def did_you_mean(
    word: str, names: Iterable[str], otherwise: str, *, longest: int = 60, most: int = 100
) -> str:
    """The hint for a word that is not one of ``names``."""
    return meant(nearest(word, names, longest=longest, most=most)) or otherwise


def meant(near: str | None) -> str | None:
    """The hint that ``near`` was meant; None if nothing is near."""
    return f"did you mean `{line(near, 200)}`?" if near else None
