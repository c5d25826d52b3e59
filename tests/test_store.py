"""A cache whose files were damaged is a cache with less in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelbuild.store import Entry, File, Store, Tree

CHEAP = "sha256:" + "a" * 64
ENTRY = Entry(
    "sha256:" + "b" * 64, Tree("sha256:" + "c" * 64, {"f": File("d", 1)}), {"step": "x"}, {"e": None}
)


def test_an_entry_comes_back_as_it_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.record(CHEAP, ENTRY)
    assert store.entries(CHEAP) == [ENTRY]


@pytest.mark.parametrize(
    "change",
    [
        {"discovered": None}, {"data": 3}, {"facts": []}, {"diagnostics": [3]}, {"diagnostics": None},
        {"tree": {"digest": "x", "files": []}}, {"tree": {"digest": "x", "files": {"f": 3}}},
        {"tree": None}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_entry_does_not_count(tmp_path: Path, change: dict[str, Any]) -> None:
    store = Store(tmp_path)
    store.record(CHEAP, ENTRY)
    (path,) = tmp_path.glob("ledger/*/*/*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert store.entries(CHEAP) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"text"'])
def test_an_entry_that_is_something_else_does_not_count(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    store.record(CHEAP, ENTRY)
    (path,) = tmp_path.glob("ledger/*/*/*.json")
    path.write_text(text)
    assert store.entries(CHEAP) == []


@pytest.mark.parametrize("text", ["", "[]", '{"export": 3}', '{"export": {"facts": 3, "discovered": {}}}'])
def test_a_damaged_history_is_none(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    store.remember("r", {"export": {"facts": {}, "discovered": {}}})
    assert store.history("r")
    (path,) = tmp_path.glob("history/*.json")
    path.write_text(text)
    assert store.history("r") == {}


def _made(store: Store, text: str) -> Tree:
    folder = store.workspace()
    (folder / "model").write_text(text)
    (folder / "other").write_text("same")
    return store.put(folder)


@pytest.mark.parametrize("damaged", ["", "WEIGHTS"], ids=["truncated", "same-size"])
def test_an_object_that_is_made_again_takes_the_place_of_a_damaged_one(tmp_path: Path, damaged: str) -> None:
    store = Store(tmp_path)
    tree = _made(store, "weights")
    file = next(tmp_path.glob("objects/*/*/model"))
    file.chmod(0o644)
    file.write_text(damaged)
    assert not store.intact(tree)
    assert _made(store, "weights") == tree
    assert store.intact(tree)
    assert not list((tmp_path / "work").iterdir())
