"""A word from a step on its way, to whoever listens: searches take a while."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Have ``listener`` hear every word told in this process from now on."""
    _listeners[:] = [listener]


def tell(word: str) -> None:
    """Say how far the work is, in a few words; nobody need hear it."""
    for listener in _listeners:
        listener(word)
