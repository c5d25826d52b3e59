"""The sizes of an axis that a draft proposes, before anything was tried."""

from __future__ import annotations

from collections.abc import Callable

from modelbuild.setup.drafting.values import GuessedRange

_USUAL = {"decoder_sequence": (16, 32, 64), "samples": (4000, 16000, 32000)}
_LONG = ("seq", "time", "tokens", "length", "frames")


Ranges = Callable[[str, int], GuessedRange]
"""The sizes that are wanted of an axis, by its name and the size that it was met at."""


def is_batch(axis: str) -> bool:
    """Whether it is called as the axis of samples mostly is, also in files of others."""
    return "batch" in axis.lower() or axis in ("N", "B", "b", "bs")


def usual(axis: str, size: int, limit: int | None = None) -> GuessedRange:
    """The range for an axis of this name that was met at ``size``; at most ``limit``."""
    if axis in _USUAL:
        found = _USUAL[axis]
    elif is_batch(axis):
        found = (1, 4, 8)
    elif axis not in ("length", "frames") and any(word in axis for word in _LONG):
        found = (16, 64, 256)
    else:
        found = (max(1, size // 2), size, size + size // 2)
    if limit is None or limit >= found[2]:
        return GuessedRange(*found)
    if limit >= 2 * found[0]:
        return GuessedRange(found[0], min(found[1], limit), limit)
    return GuessedRange(1, max(1, limit // 2), limit)
