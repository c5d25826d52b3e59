"""Other processes that use a store: forks of the test, which die when and where it says."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn


class Other:
    """A fork that does its work, says so, and waits to be killed. Use as a context manager."""

    def __init__(self, work: Callable[[], object]) -> None:
        ready, say = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _wait_after(work, say)
        os.close(say)
        answer = os.read(ready, 4096)
        os.close(ready)
        assert answer == b"done", answer.decode()

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0


def _wait_after(work: Callable[[], object], say: int) -> NoReturn:
    try:
        kept = work()
        os.write(say, b"done")
        while kept is not say:
            signal.pause()
    except BaseException:
        os.write(say, traceback.format_exc().encode()[-4000:] or b"failed")
    os._exit(1)


def dies(work: Callable[[], object], step: int) -> bool:
    """Do ``work`` in a fork that kills itself before its ``step``-th step; False if it has no more.

    A step is anything that Python tells an audit hook: every open, rename, mkdir, unlink, chmod,
    listing and lock. Between two of them nothing happens but writes to files that are open.
    """
    pid = os.fork()
    if pid == 0:
        left = step

        def one_more(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left == -1:  # the kill is told to the hook, too
                os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            sys.addaudithook(one_more)
            work()
            left = -2
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def together(*works: Callable[[], object]) -> None:
    """Do all of these at once, each in a process of its own; all must succeed."""
    children = []
    for work in works:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * len(works)
