"""What the cache was good for adds up, whatever happens to its file."""

from __future__ import annotations

import itertools

import pytest

from modelbuild.store import Store, tally
from modelbuild.store.counting import stats
from modelbuild.store.tally import Tally
from tests.store.conftest import entry, lookup_key, made
from tests.store.processes import dies, together


def test_a_cache_that_is_not_there_has_done_nothing(store: Store) -> None:
    found = stats(store)
    assert (found.used, found.objects, found.bytes) == (Tally(), 0, 0)
    assert not store.root.exists()


def test_builds_and_what_is_there_are_counted(store: Store) -> None:
    store.count(hits=3, misses=1, seconds_saved=2.5, bytes_reused=100)
    store.count(hits=4, misses=0, seconds_saved=0.25, bytes_reused=50)
    store.record(lookup_key(), entry(made(store)))
    made(store, "other")
    found = stats(store)
    assert found.used == Tally(2, 7, 1, 2.75, 150)
    assert (found.objects, found.object_bytes, found.entries) == (2, 20, 1)
    assert found.bytes > 500


@pytest.mark.parametrize(
    "line",
    [
        '{"builds": 1, "hits"', "null", "[]", "\udcff", '{"builds": "1"}', '{"hits": NaN}', '{"hits": -1}',
        '{"other": 1}', '{"hits": 1e999}', "[" * 100_000,
    ],
    ids=range(10),
)  # fmt: skip
def test_a_broken_line_spoils_only_itself(store: Store, line: str) -> None:
    store.count(1, 0, 0.0, 0)
    with store.layout.tally.open("ab") as file:
        file.write(line.encode(errors="surrogateescape"))  # and no end of the line
    store.count(2, 0, 0.0, 0)
    assert stats(store).used == Tally(2, 3, 0, 0.0, 0)


def test_a_file_that_grew_large_is_added_up_and_nothing_is_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "_LARGE", 2000)

    def count() -> None:
        for _ in range(100):
            Store(store.root).count(1, 2, 0.5, 1000)

    together(count, count, count, count)
    assert stats(store).used == Tally(400, 400, 800, 200.0, 400_000)
    assert store.layout.tally.stat().st_size < 2500


@pytest.mark.slow
def test_a_kill_while_adding_up_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "_LARGE", 200)
    counted = 0
    for step in itertools.count():
        while not store.layout.tally.exists() or store.layout.tally.stat().st_size < 150:
            store.count(1, 0, 0.0, 0)
            counted += 1
        killed = dies(lambda: store.count(1, 0, 0.0, 0), step)
        builds = stats(store).used.builds
        assert builds in (counted, counted + 1)
        counted = builds
        if not killed:
            break
    assert step > 3
