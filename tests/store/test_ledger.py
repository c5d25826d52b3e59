"""What is known is whole, or it does not count."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from modelbuild.store import Entry, File, Store
from modelbuild.store.objects import named
from modelbuild.store.sealing import seal, unseal
from tests.store.conftest import damaged, entry, lookup_key

TREE = named({"f": File("d" * 64, 1)})
ENTRY = entry(TREE)
MEMORY = {
    "export": {
        "facts": {"opset": 18},
        "discovered": {"file net.py": "sha256:1"},
        "tree": "sha256:" + "2" * 64,
    }
}


def _file(store: Store, kind: str) -> Path:
    (path,) = (p for p in store.root.glob(f"{kind}/**/*.json"))
    return path


def test_an_entry_comes_back_as_it_was_written(store: Store) -> None:
    store.record(lookup_key(), ENTRY)
    assert store.entries(lookup_key()) == [ENTRY]
    assert store.entries(lookup_key("9")) == []


def test_entries_come_newest_first(store: Store) -> None:
    others = [entry(TREE, letter) for letter in "123"]
    for age, known in enumerate(others):
        store.record(lookup_key(), known)
        path = store.layout.entries(lookup_key()) / (known.key.partition(":")[2] + ".json")
        os.utime(path, (1e9 - age, 1e9 - age))
    assert store.entries(lookup_key()) == others


def test_a_flipped_bit_in_what_was_measured_does_not_count(store: Store) -> None:
    store.record(lookup_key(), ENTRY)
    damaged(_file(store, "ledger"), '"error":0.25', '"error":0.24')
    assert store.entries(lookup_key()) == []


def test_any_changed_byte_of_a_sealed_text_is_noticed() -> None:
    data = seal({"a": [1, "ü"]}).encode()
    assert unseal(data) == {"a": [1, "ü"]}
    assert json.loads(data)["content"] == {"a": [1, "ü"]}
    for place in range(len(data)):
        for bit in (1, 32, 128):
            changed = data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]
            with pytest.raises(ValueError, match="the content is not what its digest says"):
                unseal(changed)
    for length in range(len(data)):
        with pytest.raises(ValueError, match="the content is not what its digest says"):
            unseal(data[:length])


@pytest.mark.parametrize(
    "change",
    [
        {"discovered": None}, {"data": 3}, {"facts": []}, {"diagnostics": [3]}, {"diagnostics": None},
        {"tree": {"digest": "x", "files": []}}, {"tree": {"digest": "x", "files": {"f": 3}}},
        {"tree": None}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_of_another_shape_does_not_count(store: Store, change: dict[str, Any]) -> None:
    store.record(lookup_key(), ENTRY)
    _file(store, "ledger").write_text(seal({**ENTRY.as_json(), **change}))
    assert store.entries(lookup_key()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"text"', json.dumps(ENTRY.as_json()), "\0"])
def test_a_file_that_is_no_entry_does_not_count(store: Store, text: str) -> None:
    store.record(lookup_key(), ENTRY)
    other = entry(TREE, "8")
    _file(store, "ledger").write_text(text)
    store.record(lookup_key(), other)
    assert store.entries(lookup_key()) == [other]


def test_a_history_comes_back_as_it_was_written(store: Store) -> None:
    assert store.history("/r/net.yaml") == {}
    store.remember("/r/net.yaml", MEMORY)
    assert store.history("/r/net.yaml") == MEMORY
    assert store.history("/r/other.yaml") == {}
    store.remember("/r/net.yaml", {})
    assert store.history("/r/net.yaml") == {}


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", json.dumps(MEMORY), seal(MEMORY), seal([]), seal({"recipe": 3, "actions": {}}),
        seal({"recipe": "r", "actions": {"export": 3}}),
        seal({"recipe": "r", "actions": {"export": {"facts": 3, "discovered": {}}}}),
        seal({"recipe": "other", "actions": MEMORY}),
    ],
)  # fmt: skip
def test_a_damaged_history_is_none(store: Store, text: str) -> None:
    store.remember("r", MEMORY)
    assert store.history("r") == MEMORY
    _file(store, "history").write_text(text)
    assert store.history("r") == {}


def test_a_result_is_recorded_though_its_folder_is_removed_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.layout.entries(lookup_key())
    truly = Path.mkdir
    emptied = []

    def mkdir(path: Path, *args: Any, **more: Any) -> None:
        truly(path, *args, **more)
        if path == folder and not emptied:
            emptied.append(path)
            folder.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir)
    store.record(lookup_key(), ENTRY)
    assert emptied
    assert store.entries(lookup_key()) == [ENTRY]


def test_what_is_remembered_in_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "cache")
    with pytest.raises(OSError, match="Not a directory"):
        store.remember("r", MEMORY)
    assert store.history("r") == {}
    assert isinstance(store.entries(lookup_key()), list)
    assert Entry.from_json(ENTRY.as_json()) == ENTRY


def test_a_folder_in_the_place_of_an_entry_is_damage_that_the_next_one_mends(store: Store) -> None:
    store.record(lookup_key(), ENTRY)
    path = _file(store, "ledger")
    path.unlink()
    (path / "inner").mkdir(parents=True)
    store.record(lookup_key(), ENTRY)
    assert store.entries(lookup_key()) == [ENTRY]
