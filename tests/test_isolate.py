"""A fork that ends on its own terms."""

from __future__ import annotations

import gc

from modelbuild.isolate import in_child


class Native:
    """As a session of a native library: to end it where its threads are not would wait for ever."""

    ended = 0

    def __del__(self) -> None:
        Native.ended += 1


def test_what_the_parent_left_in_a_cycle_is_not_collected_in_the_child() -> None:
    def collect() -> int:
        gc.collect()
        return Native.ended

    gc.disable()  # the parent may collect it at any time
    try:
        native = Native()
        native.itself = native  # type: ignore[attr-defined]
        del native
        assert in_child(collect).value == 0
    finally:
        gc.enable()
    assert collect() == 1
