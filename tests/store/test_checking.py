"""Everything is read again, and what is damaged is told and taken out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.store import Store
from modelbuild.store.checking import Checked, check
from tests.store.conftest import damaged, entry, lookup_key, made

MEMORY = {"export": {"facts": {"opset": 18}, "discovered": {}, "tree": "sha256:" + "1" * 64}}


def _object(store: Store) -> Path:
    (place,) = store.root.glob("objects/*/*")
    return place


def test_a_cache_that_is_whole_is_only_read(store: Store) -> None:
    assert check(store) == Checked(0, 0, 0, 0, ())
    tree = made(store)
    store.record(lookup_key(), entry(tree))
    store.remember("r", MEMORY)
    store.put(store.workspace())  # nobody mentions it, and it has no files
    before = sorted(store.root.rglob("*"))
    assert check(store) == Checked(2, 11, 1, 1, ())
    assert sorted(store.root.rglob("*")) == before


def _flip(place: Path) -> None:
    damaged(place / "model", "weights", "WEIGHTS")


def _cut(place: Path) -> None:
    damaged(place / "model", "weights", "wei")


def _lose(place: Path) -> None:
    (place / "other").unlink()


def _add(place: Path) -> None:
    (place / "more").write_text("")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        pytest.param(_flip, "model has other bytes", id="bit-flipped"),
        pytest.param(_cut, "model has 3 bytes, not 7", id="truncated"),
        pytest.param(_lose, "other is missing", id="file-missing"),
        pytest.param(_add, "more is not part of it", id="file-too-many"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_object_is_set_aside(
    store: Store, damage: Callable[[Path], None], problem: str, known: bool
) -> None:
    tree = made(store)
    if known:
        store.record(lookup_key(), entry(tree))
    place = _object(store)
    damage(place)
    checked = check(store)
    assert checked.objects == 1
    (said,) = checked.damaged
    assert (said.what, said.place, said.removed) == ("object", place, True)
    assert said.problem == (problem if known else "its files are not what its name says")
    assert store.folder(tree) is None
    assert (store.root / "aside" / place.name).is_dir()
    assert check(store).damaged == ()
    assert made(store) == tree
    assert store.intact(tree)


def test_damaged_entries_and_histories_are_removed(store: Store) -> None:
    tree = made(store)
    store.record(lookup_key(), entry(tree, "1"))
    store.record(lookup_key(), entry(tree, "2"))
    store.remember("r", MEMORY)
    first = store.layout.entries(lookup_key()) / (entry(tree, "1").key.partition(":")[2] + ".json")
    damaged(first, '"error":0.25', '"error":0.24')
    damaged(store.layout.history("r"), ":18", ":17")
    checked = check(store)
    assert [(d.what, d.place, d.removed) for d in checked.damaged] == [
        ("entry", first, True),
        ("history", store.layout.history("r"), True),
    ]
    assert {d.problem for d in checked.damaged} == {"its content is not what its digest says"}
    assert (checked.objects, checked.entries, checked.histories) == (1, 1, 0)
    assert [e.key for e in store.entries(lookup_key())] == [entry(tree, "2").key]
    assert check(store).damaged == ()


def test_damage_in_a_cache_that_cannot_be_written_is_told(disk: Callable[[str], Path]) -> None:
    store = Store(disk("size=1m,rw"))
    tree = made(store)
    store.record(lookup_key(), entry(tree))
    store.close()
    _flip(_object(store))
    disk("ro")
    (said,) = check(store).damaged
    assert (said.what, said.problem, said.removed) == ("object", "model has other bytes", False)


def test_an_object_that_cannot_be_read_is_damaged(store: Store) -> None:
    made(store)
    place = _object(store)
    (place / "loop").symlink_to("loop")
    (place / "model").unlink()
    (said,) = check(store).damaged
    assert said.problem in ("it cannot be read", "its files are not what its name says")
