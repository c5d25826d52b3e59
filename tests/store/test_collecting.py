"""A collection makes room, and takes nothing from who needs it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelbuild.store import Store, Tree
from modelbuild.store.checking import check
from modelbuild.store.collecting import Collected, collect
from tests.store.conftest import damaged, entry, fill, lookup_key, made
from tests.store.processes import Other, dies, together

NOW = 2e9  # later than any file of these tests
NOTHING = Collected(0, 0, 0, 0, 0)


def _aged(store: Store, *ages: float, size: int = 96) -> list[Tree]:
    """Objects of ``size`` + 4 bytes that nobody needs, each last used so many seconds before NOW."""
    trees = [made(store, f"age {i}", size) for i in range(len(ages))]
    store.close()
    for tree, age in zip(trees, ages, strict=True):
        place = store.folder(tree)
        assert place is not None
        os.utime(place, (NOW - age, NOW - age))
    return trees


def _there(store: Store, trees: list[Tree]) -> list[bool]:
    return [store.folder(tree) is not None for tree in trees]


def _remember(store: Store, recipe: Path, *trees: Tree) -> None:
    memory = {"facts": {}, "discovered": {}}
    store.remember(str(recipe), {str(i): {**memory, "tree": t.digest} for i, t in enumerate(trees)})


def test_an_empty_cache_has_nothing_to_collect(store: Store) -> None:
    assert collect(store, 0, 0, NOW) == NOTHING
    assert not store.root.exists()


def test_the_least_recently_used_go_first_down_to_the_size(store: Store) -> None:
    trees = _aged(store, 10, 40, 30, 20)
    assert collect(store, 400, None, NOW) == replace(NOTHING, left=400)
    assert collect(store, 250, None, NOW) == replace(NOTHING, objects=2, bytes=200, left=200)
    assert _there(store, trees) == [True, False, False, True]
    assert collect(store, 0, None, NOW) == replace(NOTHING, objects=2, bytes=200)
    assert _there(store, trees) == [False] * 4
    assert not list(store.root.glob("objects/*/*"))


def test_what_was_not_used_for_longer_than_the_age_goes(store: Store) -> None:
    trees = _aged(store, 10, 40, 30)
    assert collect(store, None, 30, NOW) == replace(NOTHING, objects=1, bytes=100, left=200)
    assert _there(store, trees) == [True, False, True]
    assert collect(store, None, None, NOW) == replace(NOTHING, left=200)


def test_what_is_used_becomes_the_last_to_go(store: Store) -> None:
    first, second = _aged(store, 40, 30)
    assert store.pin(first) is not None
    store.close()
    place = store.folder(second)
    assert place is not None
    os.utime(place, (time.time() - 100, time.time() - 100))
    collect(store, 100, None, time.time())
    assert _there(store, [first, second]) == [True, False]


def test_a_clock_that_jumped_ahead_makes_nothing_younger_than_now(store: Store) -> None:
    trees = _aged(store, -1e6, 10)
    assert collect(store, 100, None, NOW).objects == 1
    assert _there(store, trees) == [True, False]
    assert collect(store, None, 30, NOW + 31).objects == 0  # younger than that: it is from the future
    assert collect(store, None, 30, NOW + 2e6).objects == 1


def test_what_current_outputs_need_stays_and_is_told(store: Store, tmp_path: Path) -> None:
    trees = _aged(store, 40, 30, 20, 10)
    recipe, gone = tmp_path / "net.yaml", tmp_path / "gone.yaml"
    recipe.write_text("")
    _remember(store, recipe, trees[0], trees[2])
    _remember(store, gone, trees[1])
    assert collect(store, 100, None, NOW) == Collected(2, 200, left=200, needed=200, running=0)
    assert _there(store, trees) == [True, False, True, False]
    assert collect(store, None, 5, NOW) == Collected(0, 0, left=200, needed=200, running=0)
    assert collect(store, 200, None, NOW) == replace(NOTHING, left=200)
    recipe.unlink()
    assert collect(store, 0, None, NOW).objects == 2


def test_what_stays_below_the_size_in_the_end_is_not_told_of(store: Store, tmp_path: Path) -> None:
    trees = _aged(store, 40, 30)
    recipe = tmp_path / "net.yaml"
    recipe.write_text("")
    _remember(store, recipe, trees[0])
    assert collect(store, 100, None, NOW) == Collected(1, 100, left=100, needed=0, running=0)


def test_a_recipe_that_cannot_be_asked_for_is_not_gone(store: Store, tmp_path: Path) -> None:
    (tree,) = _aged(store, 40)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    _remember(store, loop / "net.yaml", tree)
    assert collect(store, 0, None, NOW).needed == 100


def test_only_the_last_memory_counts_and_a_damaged_one_does_not(store: Store, tmp_path: Path) -> None:
    trees = _aged(store, 40, 30)
    recipe = tmp_path / "net.yaml"
    recipe.write_text("")
    _remember(store, recipe, trees[0])
    _remember(store, recipe, trees[1])
    assert collect(store, 0, None, NOW) == Collected(1, 100, left=100, needed=100, running=0)
    damaged(store.layout.history(str(recipe)), "facts", "FACTS")
    assert collect(store, 0, None, NOW) == Collected(1, 100, left=0, needed=0, running=0)
    assert not list(store.layout.history_files())


def test_what_a_running_build_uses_stays_until_it_is_dead(store: Store) -> None:
    trees = _aged(store, 40, 30, 20)

    def use() -> object:
        theirs = Store(store.root)
        assert theirs.pin(trees[0]) is not None
        made(theirs, "new", 96)
        return theirs

    with Other(use) as other:
        assert collect(store, 0, None, NOW) == Collected(2, 200, left=200, needed=0, running=200)
        assert _there(store, trees) == [True, False, False]
        other.kill()
        assert collect(store, 0, None, NOW) == Collected(2, 200, left=0, needed=0, running=0)
    assert list(store.layout.sessions()) == []


def test_my_own_pins_hold_too(store: Store) -> None:
    tree = made(store, "mine", 96)
    assert collect(store, 0, 0, NOW) == Collected(0, 0, left=100, needed=0, running=100)
    assert store.folder(tree) is not None


def test_what_says_nothing_any_more_goes_too(store: Store, tmp_path: Path) -> None:
    kept, gone = _aged(store, 10, 40)
    recipe = tmp_path / "net.yaml"
    recipe.write_text("")
    store.record(lookup_key(), entry(kept, "1"))
    store.record(lookup_key(), entry(gone, "2"))
    store.record(lookup_key("9"), entry(gone, "3", of="9"))
    _remember(store, recipe, kept)
    _remember(store, tmp_path / "gone.yaml", gone)
    store.set_aside(made(store, "damaged").digest)
    store.close()
    old = [store.log(tmp_path, "net", "export"), store.root / "state/a/net.txt"]
    old[1].parent.mkdir(parents=True)
    for path in old:
        path.write_text("")
        os.utime(path, (NOW - 40, NOW - 40))
    young = [store.log(tmp_path, "net", "young"), store.root / "state/young.txt"]
    for path in young:
        path.write_text("")
    for path in (*young, *store.layout.history_files()):
        os.utime(path, (NOW - 10, NOW - 10))
    with Other(lambda: store.lock("held")), Other(lambda: store.lock("dead")) as dying:
        dying.kill()
        collect(store, None, 30, NOW)
        assert len(list(store.layout.lock_files())) == 1
    assert [e.key for e in store.entries(lookup_key())] == [entry(kept, "1").key]
    assert not store.layout.entries(lookup_key("9")).exists()
    assert [p.exists() for p in (*old, *young)] == [False, False, True, True]
    assert store.history(str(recipe))
    assert store.history(str(tmp_path / "gone.yaml"))  # it is young
    assert not list(store.layout.leftovers())
    collect(store, None, None, NOW)
    assert store.history(str(tmp_path / "gone.yaml")) == {}
    assert [p.exists() for p in young] == [True, True]


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_a_cache_that_is_right(tmp_path: Path) -> None:
    recipe = tmp_path / "net.yaml"
    recipe.write_text("")
    for step in itertools.count():
        store = Store(tmp_path / str(step))
        trees = _aged(store, 40, 30, 20)
        _remember(store, recipe, trees[0])
        for i, tree in enumerate(trees):
            store.record(lookup_key(), entry(tree, str(i)))
        killed = dies(lambda store=store: collect(store, 0, None, NOW), step)  # type: ignore[misc]
        assert check(store).damaged == ()
        assert store.intact(trees[0])
        collect(store, 0, None, NOW)
        assert _there(store, trees) == [True, False, False]
        assert len(list(store.root.glob("objects/*/*"))) == 1
        assert len(store.entries(lookup_key())) == 1
        assert list(store.layout.sessions()) == []
        if not killed:
            break
    assert step > 30


def test_two_collections_and_builds_at_once_are_all_right(store: Store) -> None:
    """Builds put, pin and read while others collect everything; what is pinned stays whole."""

    def build() -> None:
        for i in range(40):
            mine = Store(store.root)
            tree = made(mine, f"object {i % 5}", 5000)
            other = made(mine, f"own {os.getpid()} {i}", 5000)
            place = mine.pin(tree)
            assert place is not None
            time.sleep(0.001)
            assert mine.intact(tree)
            assert mine.intact(other)
            mine.close()

    def clean() -> None:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            collect(Store(store.root), 0, 0, time.time())

    together(build, build, clean, clean)
    collect(store, 0, None, NOW)
    assert not list(store.root.glob("objects/*/*"))
    assert list(store.layout.sessions()) == []


def test_room_is_made_on_a_disk_that_is_full(disk: Callable[[str], Path]) -> None:
    store = Store(disk("size=64k"))
    trees = _aged(store, 10, 40, size=16_000)
    fill(store.root)
    assert collect(store, 20_000, None, NOW).objects == 1
    assert _there(store, trees) == [True, False]


def test_a_cache_that_cannot_be_written_is_an_error(disk: Callable[[str], Path]) -> None:
    store = Store(disk("size=1m,rw"))
    _aged(store, 40)
    disk("ro")
    with pytest.raises(OSError, match="Read-only file system"):
        collect(store, 0, None, NOW)
    assert collect(store, None, None, NOW) == replace(NOTHING, left=100)
