"""A cache that somebody else can write to: nothing in it is believed before it is looked at, and nothing
in it leads anywhere else.

Entries are sealed as well as ours, since anybody can seal. Around the cache lies what must not be
touched, and every test looks at all of it afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import pytest

from modelbuild.base.keys import canonical, digest, full_key
from modelbuild.store import Entry, File, Store, collect, sealing, stats
from modelbuild.store.objects import named
from modelbuild.store.sealing import seal
from tests.store.conftest import entry, facts, lookup_key, made
from tests.store.strangers import ACTION, LOCK, NOW, everything, write

pytestmark = pytest.mark.usefixtures("in_time")


# ---- entries and memories ------------------------------------------------------------------------


def _poisoned(**change: Any) -> dict[str, Any]:
    """An entry as JSON with other parts, called what it then holds."""
    good = json.loads(json.dumps(entry(named({"f": File("d" * 64, 1)})).as_json()))
    content = {**good, **change}
    if "files" in change:
        files = content.pop("files")
        content["tree"] = {"digest": _called(files), "files": files}
    if change.keys() & {"facts", "discovered"} and "key" not in change:
        content["key"] = _called({"facts": content["facts"], "discovered": content["discovered"]})
    return content


def _called(value: Any) -> str:
    with contextlib.suppress(UnicodeError):
        return digest(value)
    return "sha256:" + "0" * 64  # what is no text has no digest


A_FILE = ["d" * 64, 1]
DEEP: Any = json.loads("[" * 900 + "]" * 900)

NAMES = [
    "../x", "/etc/passwd", "a/b", "..", ".", "", "a\0b", "a\nb", "\x1b[31m", "x" * 300, "é" * 200, "\u202ex",
    "a/../../b", "/", "\ud800",
]  # fmt: skip

FILES: list[Any] = [
    *({name: A_FILE} for name in NAMES),
    {"f": ["d" * 63, 1]}, {"f": ["D" * 64, 1]}, {"f": ["../" + "d" * 61, 1]}, {"f": ["d" * 64, -1]},
    {"f": ["d" * 64, 1.5]}, {"f": ["d" * 64, True]}, {"f": ["d" * 64, 1 << 70]}, {"f": ["d" * 64]},
    {"f": ["d" * 64, 1, 2]}, {"f": {"sha256": "d" * 64}}, {"f": None}, {"f": "d" * 64}, [], None, "f",
]  # fmt: skip

TREES: list[Any] = [
    {"digest": "sha256:" + "c" * 64, "files": {"f": A_FILE}},  # another object's name
    {"digest": "sha256:../../../x", "files": {}}, {"digest": "../x", "files": {}},
    {"digest": "", "files": {}},
    {"digest": "sha256:" + "c" * 63 + "/", "files": {}}, {"digest": None, "files": {}}, {"files": {}},
    {"digest": digest({}), "files": {}, "more": 1}, [], None,
]  # fmt: skip

SAID = {"code": "x", "message": "m", "hint": None, "where": None, "level": "info"}
ERRORS = {"relative_l2": None, "headroom": 1.0}
PARITY = {"passed": True, "evidence": "cpu", "tolerance": "", "shapes": [{"n": 1}], "outputs": {"y": ERRORS}}
HELD = {
    "node": "n", "op_type": "Add", "tensor": "t", "largest": 1.0, "overflows": 0, "zeros": 0, "nonfinite": 0,
    "elements": 1, "mean": 0.5, "upstream": [],
}  # fmt: skip

PARTS: dict[str, list[Any]] = {
    "key": ["", "sha256:x", "sha256:" + "e" * 64, "../x", None, 3],
    "facts": [{"step": []}, {"step": "x"}, {}, [], None],
    "discovered": [
        {"file a\0b": None}, {"glob /**": "sha256:x"}, {"": None}, {"env X": 3}, {"env X": {}},
        {"file \ud800": None}, [], None,
    ],
    "diagnostics": [
        [{}], [{**SAID, "more": 1}], [{**SAID, "level": "loud"}], [{**SAID, "message": None}],
        [{**SAID, "code": "a b\n"}], [{**SAID, "hint": 3}], [3], {}, None,
    ],
    "seconds": [-1, float("nan"), float("inf"), "1", None, True, 1 << 70],
    "peak": [-1, 1.5, "1", None, True, 1 << 70],
    "data": [
        {"refused": "1"}, {"refused": 0}, {"refused": 99}, {"refused": None}, {"refused": True},
        {"sources": []}, {"sources": {"l": "n"}}, {"sources": {"l": [3]}}, {"outlines": {"f": 3}},
        {"not_proven": "x"}, {"not_proven": [3]}, {"conversion": {"method": "x"}}, {"conversion": []},
        {"conversion": {"method": "x", "kept": [3]}}, {"axes": [None]}, {"fails": [3]}, {"fault": []},
        {"lasting": 1}, {"ranges": [{}]}, {"ranges": {}}, {"ranges": [{**HELD, "upstream": None}]},
        {"ranges": [{**HELD, "more": 1}]}, {"ranges": [{**HELD, "largest": "1"}]},
        {"parity": []}, {"parity": {}}, {"parity": {**PARITY, "outputs": {"y": {}}}},
        {"parity": {**PARITY, "outputs": {"y": {**ERRORS, "headroom": "1"}}}},
        {"parity": {**PARITY, "shapes": 3}}, {"parity": {**PARITY, "tolerance": None}}, [], None,
    ],
}  # fmt: skip

ENTRIES = [
    *(_poisoned(files=files) for files in FILES),
    *(_poisoned(tree=tree) for tree in TREES),
    *(_poisoned(**{part: value}) for part, values in PARTS.items() for value in values),
    _poisoned(more=1), _poisoned(data={"deep": DEEP, "refused": None}), {}, [], None, 3, "text",
]  # fmt: skip


def as_sealed(content: Any) -> str:
    """As anybody may seal, also what is no text."""
    return sealing._sealed(canonical(content).replace("\ud800", "\\ud800").encode()).decode()


@pytest.mark.parametrize("content", ENTRIES, ids=range(len(ENTRIES)))
def test_an_entry_that_is_not_what_a_build_writes_is_a_miss(store: Store, content: Any) -> None:
    path = store.layout.entries(lookup_key()) / ("b" * 64 + ".json")
    write(path, as_sealed(content))
    before = everything(store.root.parent)
    assert store.entries(lookup_key()) == []
    assert everything(store.root.parent) == before


def test_what_these_entries_are_made_of_is_an_entry(store: Store) -> None:
    data = {"parity": PARITY, "ranges": [HELD], "refused": 3, "sources": {"l": ["n"]}, "new": {"a": [None]}}
    good = _poisoned(data=data, diagnostics=[SAID], seconds=1, peak=3, files={"a b.onnx": A_FILE})
    path = store.layout.entries(lookup_key()) / ("b" * 64 + ".json")
    write(path, as_sealed(good))
    (read,) = store.entries(lookup_key())
    assert read.as_json() == good


def test_an_entry_is_of_the_facts_that_it_lies_under(store: Store) -> None:
    tree = named({"f": File("d" * 64, 1)})
    path = store.layout.entries(lookup_key("9")) / ("b" * 64 + ".json")
    write(path, seal(entry(tree, of="a").as_json()))
    assert store.entries(lookup_key("9")) == []
    other = Entry(full_key(facts("9"), {}), tree, facts("9"), {"env X": "1"})  # the key of other reads
    write(path, seal(other.as_json()))
    assert store.entries(lookup_key("9")) == []


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"null", b"\xff\xfe", b"[" * 100_000, seal("x").encode()[:-1],
        seal({}).encode() + b"x", seal(_poisoned()).encode().replace(b"{", b" {", 1),
    ],
    ids=range(8),
)  # fmt: skip
@pytest.mark.parametrize("sealed", [False, True])
def test_bytes_that_are_no_entry_are_a_miss(store: Store, data: bytes, sealed: bool) -> None:
    path = store.layout.entries(lookup_key()) / ("b" * 64 + ".json")
    path.parent.mkdir(parents=True)
    path.write_bytes(sealing._sealed(data) if sealed else data)
    assert store.entries(lookup_key()) == []


def test_an_entry_without_an_end_is_not_read_into_memory(store: Store) -> None:
    path = store.layout.entries(lookup_key()) / ("b" * 64 + ".json")
    write(path, "")
    os.truncate(path, 1 << 40)
    assert store.entries(lookup_key()) == []


@pytest.mark.parametrize(
    "action",
    [
        {**ACTION, "facts": {"step": []}}, {**ACTION, "facts": []}, {**ACTION, "discovered": {"file x": 3}},
        {**ACTION, "tree": "sha256:../x"}, {**ACTION, "tree": []}, {**ACTION, "key": "../x"},
        {**ACTION, "seconds": "x"}, {**ACTION, "seconds": float("inf")}, {**ACTION, "peak": -1},
        {**ACTION, "peak": "x"}, {**ACTION, "outlines": {"x": []}}, {**ACTION, "unstable": "x"},
        {**ACTION, "unstable": [3]}, {**ACTION, "discovered": {"glob /**": None}}, {}, 3,
    ],
    ids=str,
)  # fmt: skip
def test_a_memory_that_is_not_what_a_build_writes_is_none(store: Store, action: Any) -> None:
    write(store.layout.history("r"), seal({"recipe": "r", "actions": {"export": action}}))
    assert store.history("r") == {}
    write(store.layout.history("r"), seal({"recipe": "r", "actions": {"export": ACTION}}))
    assert store.history("r") == {"export": ACTION}


@pytest.mark.parametrize("name", ["../x", "sha256:../../x", "sha256:" + "a" * 63 + "/", "", "x", "sha256:"])
def test_only_a_digest_becomes_a_path(store: Store, name: str) -> None:
    for place in (store.layout.object, store.layout.aside, store.layout.entries):
        with pytest.raises(ValueError, match="is no digest"):
            place(name)
    with pytest.raises(ValueError, match="is no name of a file"):
        store.layout.log("shop", "..", "export")
    with pytest.raises(ValueError, match="is no name of a file"):
        store.layout.log("shop", "net", "../export")
    with pytest.raises(ValueError, match="is no name of a file"):
        store.layout.log("../shop", "net", "export")


# ---- sessions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["../x\n", "\0\n", "x" * 100_000, "sha256:../../x\n" * 1000, "\udcff\n"])
def test_pins_that_name_no_object_pin_nothing(store: Store, text: str) -> None:
    tree = made(store)
    store.close()
    session = store.layout.work / ("f" * 16)
    session.mkdir(parents=True)
    (session / "pins").write_text(text, errors="surrogateescape")
    assert collect(store, 0, None, NOW).objects == 1
    assert store.folder(tree) is None


def test_numbers_that_are_none_are_not_counted(store: Store) -> None:
    store.count(1, 2, 3.0, 4)
    with store.layout.tally.open("a") as file:
        for line in (
            '{"builds": 1e999}',
            '{"builds": -1}',
            '{"builds": "1"}',
            "[" * 100_000,
            '{"x": 1}',
            "3",
        ):
            file.write(f"\n{line}\n")
    assert stats(store).used.builds == 1


def test_a_lock_that_holds_no_number_has_no_holder(store: Store) -> None:
    lock = store.lock(LOCK)
    assert lock is not None
    for text in ("x", "1" * 5000, "\0", "-" * 10_000):
        lock.path.write_text(text)
        assert store.holder(LOCK) is None
    lock.release()
