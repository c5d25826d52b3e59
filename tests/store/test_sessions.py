"""Locks, sessions and pins end with their process, and not before."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from modelbuild.store import Store
from modelbuild.store.sessions import pins
from tests.store.conftest import made
from tests.store.processes import Other, together


def _no_flock(*_: Any) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def _session(store: Store) -> Path:
    (session,) = store.layout.sessions()
    return session


# ---- locks ----


def test_one_at_a_time_holds_a_lock(store: Store) -> None:
    lock = store.lock("net /with any\0 text")
    assert lock is not None
    assert lock.sure
    assert store.lock("net /with any\0 text") is None
    assert Store(store.root).lock("net /with any\0 text") is None
    assert store.lock("other") is not None
    lock.release()
    with store.lock("net /with any\0 text") as again:  # type: ignore[union-attr]
        lock.release()  # twice: not the next one's
        assert again.sure
        assert store.lock("net /with any\0 text") is None
    assert store.lock("net /with any\0 text") is not None


def test_another_process_holds_a_lock_until_it_is_killed_and_a_message_can_name_it(store: Store) -> None:
    assert store.holder("net") is None
    with Other(lambda: store.lock("net")) as other:
        assert store.lock("net") is None
        assert store.holder("net") == other.pid
        other.kill()
        assert store.holder("net") is None
        lock = store.lock("net")
        assert lock is not None
        assert store.holder("net") == os.getpid()
        lock.release()
        assert store.holder("net") is None


def test_a_lock_that_was_taken_while_its_file_was_removed_is_a_lock_on_the_new_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.lock("net")
    assert first is not None
    truly = fcntl.flock

    def flock(fd: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", truly)
        first.release()  # between the open and the lock of the second
        truly(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert store.lock("net") is not None
    assert store.lock("net") is None


def test_a_forked_child_does_not_hold_its_parents_lock_on(store: Store) -> None:
    sleeping: list[Other] = []

    def hold_and_fork() -> object:
        lock = store.lock("net")
        made(store)
        child = Other(lambda: None)
        (store.root / "grandchild").write_text(str(child.pid))
        sleeping.append(child)
        return lock

    with Other(hold_and_fork) as other:
        assert store.lock("net") is None
        store.sweep()
        assert len(list(store.layout.sessions())) == 1
        other.kill()
        grandchild = int((store.root / "grandchild").read_text())
        try:
            os.kill(grandchild, 0)  # it lives
            assert store.lock("net") is not None
            store.sweep()
            assert list(store.layout.sessions()) == []
        finally:
            os.kill(grandchild, 9)


def test_a_forked_child_that_releases_what_it_inherited_frees_nothing(store: Store) -> None:
    lock = store.lock("net")
    assert lock is not None
    made(store)
    with Other(lambda: (lock.release(), store.close())):
        assert store.lock("net") is None
        assert store.holder("net") == os.getpid()
        assert _session(store).is_dir()
        store.sweep()
        assert _session(store).is_dir()


def test_a_file_system_without_locks_gives_locks_that_protect_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", _no_flock)
    first, second = store.lock("net"), store.lock("net")
    assert first is not None
    assert second is not None
    assert not first.sure
    assert store.holder("net") is None
    first.release()
    second.release()
    tree = made(store)
    assert store.pin(tree) is not None
    other = Store(store.root)
    other.workspace()
    other.sweep()
    assert len(list(store.layout.sessions())) == 2  # nobody can tell who is dead


# ---- sessions ----


def test_reading_and_locking_begin_no_session(store: Store) -> None:
    store.history("r")
    store.entries("sha256:" + "a" * 64)
    store.sweep()
    store.lock("net")
    store.close()
    assert not store.layout.work.exists()


def test_a_session_ends_with_its_store(store: Store) -> None:
    made(store)
    left = store.workspace()
    (left / "half").write_text("")
    other = Store(store.root)
    other.workspace()
    assert len(list(store.layout.sessions())) == 2
    store.close()
    store.close()
    assert len(list(store.layout.sessions())) == 1
    del other
    assert list(store.layout.sessions()) == []
    assert store.workspace().is_dir()  # and may begin again
    assert len(list(store.layout.sessions())) == 1


def test_only_the_sessions_of_dead_processes_are_swept(store: Store) -> None:
    mine = store.workspace()
    (store.root / "work/4711-0").mkdir()  # of nobody
    (store.root / "work/file").write_text("")
    with Other(store.__class__(store.root).workspace) as other:
        store.sweep()
        assert len([p for p in store.layout.sessions() if p.is_dir()]) == 2
        other.kill()
        store.sweep()
        assert [p for p in store.layout.sessions() if p.is_dir()] == [mine.parent]


def test_a_swept_session_is_out_of_the_way_before_it_is_emptied(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one that is just beginning there could lock a new file, which would then be removed."""
    left = store.root / "work/left"
    left.mkdir(parents=True)
    truly, emptied = shutil.rmtree, []

    def rmtree(path: Path, **more: Any) -> None:
        emptied.append(left.exists())
        truly(path, **more)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    store.sweep()
    assert emptied == [False]
    assert list(store.layout.sessions()) == []


def test_a_workspace_is_given_once_also_to_a_fork_that_has_the_store(store: Store) -> None:
    store.workspace()
    with Other(store.workspace):
        assert store.workspace().is_dir()
    assert len(list(_session(store).glob("[0-9]*"))) == 3


def test_sessions_that_begin_while_others_sweep_all_survive(store: Store) -> None:
    def begin() -> None:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            mine = Store(store.root)
            folder = mine.workspace()
            mine.sweep()
            (folder / "file").write_text("x")
            assert mine.put(folder).files
            mine.close()

    together(begin, begin, begin)
    assert list(store.layout.sessions()) == []


# ---- pins ----


def test_what_is_put_or_pinned_is_in_the_sessions_pins_and_used_now(store: Store) -> None:
    tree = made(store)
    assert pins(store.layout.sessions()) == {tree.digest}
    store.close()
    assert pins(store.layout.sessions()) == set()
    place = store.folder(tree)
    assert place is not None
    os.utime(place, (1e9, 1e9))
    before = time.time()
    assert store.pin(tree) == place
    assert pins(store.layout.sessions()) == {tree.digest}
    assert place.stat().st_mtime >= before - 1


def test_a_workspace_whose_path_is_spelled_otherwise_is_of_the_same_session(
    store: Store, tmp_path: Path
) -> None:
    folder = store.workspace()
    (folder / "model").write_text("weights")
    (tmp_path / "link").symlink_to(store.root)
    tree = store.put(tmp_path / "link" / folder.relative_to(store.root))
    assert pins(store.layout.sessions()) == {tree.digest}
    other = Store(tmp_path / "link")
    (folder := store.workspace()).joinpath("model").write_text("other")
    assert other.put(folder).digest in pins(store.layout.sessions())
    assert len(list(store.layout.sessions())) == 1


def test_a_pin_that_was_cut_short_spoils_no_other(store: Store) -> None:
    made(store)
    with (_session(store) / "pins").open("a") as file:
        file.write("\nsha256:12")
    tree = made(store, "other")
    assert tree.digest in pins(store.layout.sessions())
