"""An object is there whole or not at all, whoever dies or is quicker."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.store import Store, Tree
from modelbuild.store.checking import check
from tests.store.conftest import damaged, fill, made
from tests.store.processes import Other, dies, together


def _stored(store: Store, name: str = "model") -> Path:
    (path,) = store.root.glob(f"objects/*/*/{name}")
    return path


def test_equal_content_is_stored_once_and_read_only(store: Store) -> None:
    assert made(store) == made(store)
    assert _stored(store).stat().st_mode & 0o777 == 0o444
    assert _stored(store, "other").stat().st_mode & 0o777 == 0o444
    assert not list(store.layout.sessions().__next__().glob("[0-9]*"))


@pytest.mark.parametrize("damage", ["", "WEIGHTS"], ids=["truncated", "same-size"])
def test_an_object_that_is_made_again_takes_the_place_of_a_damaged_one(store: Store, damage: str) -> None:
    tree = made(store)
    damaged(_stored(store), "weights", damage)
    assert not store.intact(tree)
    assert made(store) == tree
    assert store.intact(tree)
    aside = store.root / "aside" / tree.digest.partition(":")[2] / "model"
    assert aside.read_text() == damage


def test_an_object_that_lost_a_file_is_not_there(store: Store) -> None:
    tree = made(store)
    assert store.folder(tree) == _stored(store).parent
    _stored(store, "other").unlink()
    assert store.folder(tree) is None
    assert store.pin(tree) is None
    assert not store.intact(tree)


def test_an_object_without_files_is_there_or_not_as_any_other(store: Store) -> None:
    tree = store.put(store.workspace())
    assert store.intact(tree)
    place = store.folder(tree)
    assert place is not None
    assert store.put(store.workspace()) == tree
    place.rmdir()
    assert store.folder(tree) is None
    assert not store.intact(tree)


def test_a_child_puts_the_workspace_of_its_parent_and_begins_no_session(store: Store) -> None:
    folder = store.workspace()
    (folder / "model").write_text("weights")
    with Other(lambda: Store(store.root).put(folder)):
        pass
    assert len(list(store.layout.sessions())) == 1
    assert store.put(_again(store)) is not None
    assert len(list(store.root.glob("objects/*/*"))) == 1


def _again(store: Store) -> Path:
    folder = store.workspace()
    (folder / "model").write_text("weights")
    return folder


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_a_whole_object_or_none(tmp_path: Path) -> None:
    for step in itertools.count():
        root = tmp_path / str(step)
        killed = dies(lambda root=root: made(Store(root)), step)  # type: ignore[misc]
        store = Store(root)
        assert check(store).damaged == ()
        tree = made(store)
        assert store.intact(tree)
        store.sweep()
        store.close()
        assert not list(store.layout.sessions())
        if not killed:
            break
    assert step > 15


@pytest.mark.slow
def test_a_kill_at_any_step_of_replacing_a_damaged_object_is_harmless(tmp_path: Path) -> None:
    for step in itertools.count():
        store = Store(tmp_path / str(step))
        tree = made(store)
        damaged(_stored(store), "weights", "WEIGHTS")
        killed = dies(lambda store=store: made(Store(store.root)), step)  # type: ignore[misc]
        assert made(store) == tree
        assert store.intact(tree)
        if not killed:
            break
    assert step > 15


def test_many_processes_that_put_the_same_object_at_once_all_succeed(store: Store) -> None:
    def put() -> None:
        for i in range(30):
            with_many = Store(store.root)
            tree = made(with_many, f"weights {i}")
            assert with_many.intact(tree)
            with_many.close()

    together(put, put, put, put)
    assert check(store).damaged == ()
    assert len(list(store.layout.objects())) == 30


def test_a_full_disk_is_an_error_and_leaves_no_object(disk: Callable[[str], Path]) -> None:
    store = Store(disk("size=64k"))
    folder = store.workspace()
    (folder / "model").write_text("weights")
    fill(store.root)
    with pytest.raises(OSError, match="No space left on device"):
        store.put(folder)
    assert not list(store.layout.objects())
    (store.root / "filler").unlink()
    assert store.intact(store.put(folder))


def test_a_cache_that_cannot_be_written_can_be_read(disk: Callable[[str], Path]) -> None:
    root = disk("size=1m,rw")
    writer = Store(root)
    tree = made(writer)
    writer.remember("r", {"export": {"facts": {}, "discovered": {}}})
    writer.close()
    disk("ro")
    store = Store(root)
    place = store.pin(tree)
    assert place == store.folder(tree)
    assert place is not None
    assert (place / "model").read_text() == "weights"
    assert store.intact(tree)
    assert store.history("r")
    assert store.entries("sha256:" + "a" * 64) == []
    lock = store.lock("net")
    assert lock is not None
    assert not lock.sure
    assert store.holder("net") is None
    lock.release()
    store.sweep()
    store.count(1, 2, 3.0, 4)
    assert check(store).damaged == ()
    with pytest.raises(OSError, match="Read-only file system"):
        made(store)
    with pytest.raises(OSError, match="Read-only file system"):
        store.log(store.root, "r", "export")
    store.close()


def test_an_object_in_a_tree_that_names_a_file_too_many_is_not_intact(store: Store) -> None:
    tree = made(store)
    more = Tree(tree.digest, {**tree.files, "missing": tree.files["model"]})
    assert not store.intact(more)
