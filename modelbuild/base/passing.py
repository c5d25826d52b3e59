"""Reasons that may be gone the next time: memory that ran out, a full disk, a child that was killed.

Where a library fails and the work goes on without it, what comes out is right for as long as its facts
stay, unless the reason was one of these. Then it may be given to the user, with a warning, and the next
build has to try again. So whoever catches an error and goes on tells it here.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from modelbuild.base.errors import Elsewhere, first_line

_WORDS = re.compile(
    r"(out of|enough|allocate|allocating) memory|bad_?alloc|fail\w* to allocate|no space left|"
    r"too many open files|resource temporarily unavailable|^MemoryError\b",
    re.IGNORECASE,
)
# What a program brings upon itself, each time anew. Not SIGABRT: C++ ends so without memory, too.
_ITS_OWN = frozenset({signal.SIGSEGV, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS})

_OF_FILES = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP,
     errno.EACCES, errno.EPERM, errno.ENOEXEC}
)  # fmt: skip

_met: list[str] = []


def is_passing(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, may be gone the next time."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        said = str(error) if isinstance(error, Elsewhere) else f"{type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or _WORDS.search(said) or _is_of_the_system(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_of_the_system(error: BaseException) -> bool:
    """An OSError, but of those that files are to blame for: what is missing, or is something else."""
    if not isinstance(error, OSError) or "source code" in str(error):  # inspect, of code without a file
        return False
    return error.errno not in _OF_FILES


def is_passing_death(status: int) -> bool:
    """Whether a child with this wait status may live the next time."""
    return not (os.WIFSIGNALED(status) and os.WTERMSIG(status) in _ITS_OWN)


def met(error: BaseException) -> None:
    """Tell of an error that the work goes on after; nothing comes of it if it is no passing one."""
    if is_passing(error):
        note(first_line(error))


def note(*reasons: str) -> None:
    """Tell of reasons that are known to be passing."""
    _met.extend(r for r in reasons if r not in _met)


def noted(but: Iterable[str] = ()) -> tuple[str, ...]:
    """What this process, and what it was forked from, has met; ``but`` these."""
    known = set(but)
    return tuple(reason for reason in _met if reason not in known)


@contextmanager
def gone_on_after() -> Iterator[None]:
    """Whatever is raised inside does not count, but for what ``met`` makes of it."""
    try:
        yield
    except Exception as error:
        met(error)
