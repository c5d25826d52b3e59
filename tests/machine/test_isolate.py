"""A fork that ends on its own terms."""

from __future__ import annotations

import gc

import pytest

from modelbuild.base.errors import first_line
from modelbuild.machine.isolate import in_child


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


class Picky(Exception):
    """It does not come back from a pickle: its __init__() takes more than a message."""

    def __init__(self, name: str, version: int) -> None:
        super().__init__(f"{name} is not in version {version}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Picky("Gelu", 7), "Picky: Gelu is not in version 7"),
        (ValueError(lambda: 0), "ValueError: <function "),
        (KeyError("plain"), "KeyError: 'plain'"),
    ],
)
def test_an_error_that_cannot_be_sent_still_says_what_it_is(error: Exception, said: str) -> None:
    def fail() -> None:
        raise error

    ended = in_child(fail)
    assert ended.error is not None
    assert first_line(ended.error).startswith(said)
