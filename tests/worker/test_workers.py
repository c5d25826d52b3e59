"""The processes: every job comes to an end that is told, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelbuild.machine.isolate import describe, in_child
from modelbuild.worker.client import Finished, Workers
from tests.worker.small_jobs import Small

pytestmark = pytest.mark.cold  # what a server has imported by itself

ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def workers() -> Iterator[Workers]:
    with Workers(("json",), {"PYTHONPATH": ROOT}) as started:
        yield started


def _until(workers: Workers, count: int, seconds: float = 20) -> list[Finished]:
    ended: list[Finished] = []
    deadline = time.monotonic() + seconds
    while len(ended) < count:
        assert time.monotonic() < deadline, ended
        ended += workers.wait(0.1)
    return ended


def test_no_result_is_lost_however_the_ends_overtake_each_other(workers: Workers) -> None:
    for number in range(150):
        workers.submit(workers.first, Small(f"job {number}"), number)
    ended = _until(workers, 150)
    assert {f.token: f.result for f in ended} == {n: f"job {n}" for n in range(150)}
    assert {f.status for f in ended} == {0}
    assert workers.first.jobs == {}


@pytest.mark.parametrize(
    ("does", "words"), [("die", "killed by SIGSEGV"), ("exit", "exited with 3")], ids=["signal", "exit"]
)
def test_a_job_that_dies_is_told_at_once(workers: Workers, does: str, words: str) -> None:
    start = time.monotonic()
    workers.submit(workers.first, Small(does), "it")
    (ended,) = _until(workers, 1)
    assert time.monotonic() - start < 5
    assert ended.result is None
    assert ended.status is not None
    assert describe(ended.status) == words


def test_a_server_that_dies_ends_all_its_jobs(workers: Workers) -> None:
    for number in range(3):
        workers.submit(workers.first, Small("sleep"), number)
    time.sleep(0.5)
    os.kill(workers._process.pid, signal.SIGKILL)
    assert {f.token for f in _until(workers, 3)} == {0, 1, 2}
    workers.submit(workers.first, Small("look"), "late")
    assert [f.token for f in _until(workers, 1)] == ["late"]


def test_a_fork_finds_what_was_preloaded_and_nothing_running(workers: Workers) -> None:
    time.sleep(0.5)
    workers.submit(workers.first, Small("look"), "it")
    (ended,) = _until(workers, 1)
    assert ended.result == (["json"], 1)


def test_large_values_come_back_from_a_child() -> None:
    ended = in_child(lambda: b"x" * 50_000_000)
    assert ended.ok
    assert len(ended.value) == 50_000_000


def test_what_a_child_raises_comes_back_and_what_kills_it_is_named() -> None:
    raised = in_child(lambda: 1 // 0)
    assert isinstance(raised.error, ZeroDivisionError)
    died = in_child(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert died.died == "killed by SIGKILL (out of memory?)"
