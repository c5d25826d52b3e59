"""Several transfers at once, in threads that nobody has to wait for: Ctrl-C ends them with the command."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 8  # a home's line is full with fewer, and S3 answers one of them in some 30 ms


def each(do: Callable[[T], R], items: Iterable[T], at_once: int = AT_ONCE) -> list[R]:
    """What ``do`` gives for each of these, in their order; at most ``at_once`` at a time.

    Raises:
        Exception: the first that ``do`` raised; what was not begun by then is not.
    """
    todo = list(enumerate(items))
    waiting: queue.SimpleQueue[tuple[int, T]] = queue.SimpleQueue()
    for row in todo:
        waiting.put(row)
    done: queue.SimpleQueue[tuple[int, R | None, BaseException | None]] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                at, item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((at, do(item), None))
            except BaseException as error:  # told in the thread that waits
                done.put((at, None, error))

    for _ in range(min(at_once, len(todo))):
        threading.Thread(target=work, daemon=True).start()
    given: dict[int, R] = {}
    try:
        for _ in todo:
            at, value, error = done.get()
            if error is not None:
                raise error
            given[at] = value  # type: ignore[assignment]
    finally:
        stop.set()
    return [given[at] for at, _ in todo]
