"""What tells which distributions are installed: their files are no facts, and the questions are."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

# When this is imported, its functions are wrapped.
LIBRARY = "pkg_resources"

_MARK = "_tells_of_distributions"

Told = Callable[[str, str, FrameType], None]  # a kind of fact, what it is about, and who asks


def watch(told: Told) -> None:
    """Have ``told`` called before ``importlib.metadata`` answers."""
    mine: Any = importlib.metadata
    plain_name = mine.Distribution.from_name.__func__
    plain_points, plain_all = mine.entry_points, mine.distributions

    @functools.wraps(plain_name)
    def from_name(cls: type, name: str) -> Any:
        told("distribution", name, sys._getframe(1))
        return plain_name(cls, name)

    @functools.wraps(plain_points)
    def entry_points(**params: Any) -> Any:
        told("entry-points", params.get("group", "*"), sys._getframe(1))
        return plain_points(**params)

    @functools.wraps(plain_all)
    def distributions(**kwargs: Any) -> Any:
        if not _is_in(sys._getframe(1), mine, "entry_points"):
            told("installed", "distributions", sys._getframe(1))
        return plain_all(**kwargs)

    mine.Distribution.from_name = classmethod(from_name)
    mine.entry_points, mine.distributions = entry_points, distributions


def wrap(told: Told) -> None:
    """Have ``told`` called before ``pkg_resources`` answers, if it is loaded.

    Its functions are methods of one working set, bound when it was imported: what they call is wrapped.
    """
    mine: Any = sys.modules.get(LIBRARY)
    if getattr(mine, "WorkingSet", None) is None or hasattr(mine, _MARK):
        return
    of_all, of_one = mine.WorkingSet, mine.Distribution
    plain_find, plain_resolve, plain_iter = of_all.find, of_all.resolve, of_all.__iter__
    plain_map = of_one.get_entry_map

    @functools.wraps(plain_find)
    def find(self: Any, req: Any) -> Any:
        told("distribution", req.key, sys._getframe(1))
        return plain_find(self, req)

    @functools.wraps(plain_resolve)
    def resolve(self: Any, requirements: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = list(requirements)
        for requirement in wanted:
            told("distribution", requirement.key, sys._getframe(1))
        return plain_resolve(self, wanted, *args, **kwargs)

    @functools.wraps(plain_iter)
    def iterate(self: Any) -> Iterator[Any]:
        if not _is_in(sys._getframe(1), mine, "iter_entry_points"):
            told("installed", "distributions", sys._getframe(1))
        return iter(plain_iter(self))

    @functools.wraps(plain_map)
    def get_entry_map(self: Any, group: str | None = None) -> Any:
        told("entry-points", group or "*", sys._getframe(1))
        return plain_map(self, group)

    of_all.find, of_all.resolve, of_all.__iter__ = find, resolve, iterate
    of_one.get_entry_map = get_entry_map
    setattr(mine, _MARK, True)


def _is_in(frame: FrameType, module: Any, function: str) -> bool:
    return frame.f_code.co_name == function and frame.f_globals is vars(module)
