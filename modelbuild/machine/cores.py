"""How many cores there are, and how many of them this process may use.

Actions run side by side. Two that both start a thread per core spend their time waiting for each
other at the end of every operator; so the scheduler gives each its share.
"""

from __future__ import annotations

import os

_share: int | None = None


def available() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit(share: int) -> None:
    """Give this process its share."""
    global _share
    _share = share


def share() -> int:
    """The threads that this process should start for one piece of work."""
    return _share or available()
