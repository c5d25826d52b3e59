"""A cache that somebody else can write to: nothing in it is believed before it is looked at, and nothing
in it leads anywhere else.

Entries are sealed as well as ours, since anybody can seal. Around the cache lies what must not be
touched, and every test looks at all of it afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.errors import ModelbuildError
from modelbuild.base.keys import canonical, digest, full_key
from modelbuild.store import Entry, File, Store, check, collect, sealing, stats
from modelbuild.store.ledger import Ledger
from modelbuild.store.objects import named
from modelbuild.store.sealing import seal
from tests.store.conftest import cheap, entry, facts, made

NOW = 2e9


class Late(BaseException):
    """Nobody catches it."""


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """A pipe in the place of a file would be waited for, for ever."""

    def late(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _all(folder: Path) -> dict[str, Any]:
    """Everything below a folder: what it is, what is in it, how often it has a name, when it changed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        seen = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(folder))] = (seen.st_mode, content, seen.st_mtime_ns)
    return found


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


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _seal(content: Any) -> str:
    """As anybody may seal, also what is no text."""
    return sealing._sealed(canonical(content).replace("\ud800", "\\ud800").encode()).decode()


@pytest.mark.parametrize("content", ENTRIES, ids=range(len(ENTRIES)))
def test_an_entry_that_is_not_what_a_build_writes_is_a_miss(store: Store, content: Any) -> None:
    path = store.layout.entries(cheap()) / ("b" * 64 + ".json")
    _write(path, _seal(content))
    before = _all(store.root.parent)
    assert store.entries(cheap()) == []
    assert _all(store.root.parent) == before


def test_what_these_entries_are_made_of_is_an_entry(store: Store) -> None:
    data = {"parity": PARITY, "ranges": [HELD], "refused": 3, "sources": {"l": ["n"]}, "new": {"a": [None]}}
    good = _poisoned(data=data, diagnostics=[SAID], seconds=1, peak=3, files={"a b.onnx": A_FILE})
    path = store.layout.entries(cheap()) / ("b" * 64 + ".json")
    _write(path, _seal(good))
    (read,) = store.entries(cheap())
    assert read.as_json() == good


def test_an_entry_is_of_the_facts_that_it_lies_under(store: Store) -> None:
    tree = named({"f": File("d" * 64, 1)})
    path = store.layout.entries(cheap("9")) / ("b" * 64 + ".json")
    _write(path, seal(entry(tree, of="a").as_json()))
    assert store.entries(cheap("9")) == []
    other = Entry(full_key(facts("9"), {}), tree, facts("9"), {"env X": "1"})  # the key of other reads
    _write(path, seal(other.as_json()))
    assert store.entries(cheap("9")) == []


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
    path = store.layout.entries(cheap()) / ("b" * 64 + ".json")
    path.parent.mkdir(parents=True)
    path.write_bytes(sealing._sealed(data) if sealed else data)
    assert store.entries(cheap()) == []


def test_an_entry_without_an_end_is_not_read_into_memory(store: Store) -> None:
    path = store.layout.entries(cheap()) / ("b" * 64 + ".json")
    _write(path, "")
    os.truncate(path, 1 << 40)
    assert store.entries(cheap()) == []


ACTION = {"facts": {"step": "x"}, "discovered": {}, "tree": digest({}), "seconds": 1.0, "peak": 3}


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
    _write(store.layout.history("r"), seal({"recipe": "r", "actions": {"export": action}}))
    assert store.history("r") == {}
    _write(store.layout.history("r"), seal({"recipe": "r", "actions": {"export": ACTION}}))
    assert store.history("r") == {"export": ACTION}


@pytest.mark.parametrize("name", ["../x", "sha256:../../x", "sha256:" + "a" * 63 + "/", "", "x", "sha256:"])
def test_only_a_digest_becomes_a_path(store: Store, name: str) -> None:
    for place in (store.layout.object, store.layout.aside, store.layout.entries):
        with pytest.raises(ValueError, match="is no digest"):
            place(name)
    with pytest.raises(ValueError, match="is no name of a file"):
        store.layout.log("..", "export")
    with pytest.raises(ValueError, match="is no name of a file"):
        store.layout.log("net", "../export")


# ---- objects -------------------------------------------------------------------------------------


def _more(place: Path) -> None:
    (place / "more").write_text("")


def _nested(place: Path) -> None:
    (place / "sub").mkdir()


def _linked(place: Path) -> None:
    target = place.parents[3] / "outside" / "model"
    shutil.copy(place / "model", target)  # the very bytes: only that it is a link is wrong
    (place / "model").unlink()
    (place / "model").symlink_to(target)


def _piped(place: Path) -> None:
    (place / "model").unlink()
    os.mkfifo(place / "model")


def _led(place: Path) -> None:
    target = place.parents[3] / "outside" / "object"
    place.rename(target)
    place.symlink_to(target)


@pytest.mark.parametrize("damage", [_more, _nested, _linked, _piped, _led])
def test_an_object_is_its_files_and_no_others(store: Store, damage: Callable[[Path], None]) -> None:
    outside = store.root.parent / "outside"
    outside.mkdir()
    tree = made(store)
    place = store.folder(tree)
    assert place is not None
    assert store.intact(tree)
    damage(place)
    before = _all(outside)
    assert not store.intact(tree)
    assert store.folder(tree) is None
    assert store.pin(tree) is None
    assert made(store) == tree  # set aside, and made again
    assert store.intact(tree)
    assert _all(outside) == before


def test_a_step_that_leaves_a_link_or_a_folder_makes_no_object(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for plant in (lambda p: p.symlink_to(tmp_path / "secret"), Path.mkdir):
        folder = store.workspace()
        plant(folder / "model")
        with pytest.raises(OSError, match="it is no plain file"):
            store.put(folder)
    assert not list(store.layout.objects())


# ---- links and pipes in the place of everything ---------------------------------------------------

LOCK, RECIPE = "action a", "net"


def _grown(store: Store) -> None:
    """A cache with something in each of its places."""
    tree = made(store)
    store.record(cheap(), entry(tree))
    store.remember("r", {"export": {**ACTION, "tree": tree.digest}})
    store.set_aside(made(store, "damaged").digest)
    store.log(RECIPE, "export").write_text("said\n")
    store.count(1, 0, 1.0, 10)
    _write(store.root / "state/net.yaml.00000000", "state")
    _write(store.layout.lock(LOCK), "123\n")
    _write(store.layout.lock("left behind"), "123\n")
    _write(store.root / "history/x.json.modelbuild-draft", "")
    store.close()


PLACES = [
    "objects", "objects/*", "objects/*/*", "objects/*/*/model", "ledger", "ledger/*", "ledger/*/*",
    "ledger/*/*/*.json", "history", "history/*.json", "history/*-draft", "aside", "aside/*", "work", "locks",
    "locks/*", "logs", "logs/net", "logs/net/export.log", "state", "state/*", "stats.jsonl", "gate",
]  # fmt: skip


def _used(store: Store) -> None:
    """Everything that can be done with a cache; what cannot be written is an error, and no other."""
    for use in (
        lambda: made(store), lambda: made(store, "other"), lambda: made(store, "damaged"),
        lambda: store.record(cheap(), entry(named({}))), lambda: store.entries(cheap()),
        lambda: store.remember("r", {"export": ACTION}), lambda: store.history("r"),
        lambda: store.set_aside(made(store).digest), lambda: store.count(1, 0, 1.0, 10),
        lambda: store.log(RECIPE, "export"), lambda: _locked(store), lambda: store.holder(LOCK),
        lambda: stats(store), lambda: check(store), store.sweep, store.close,
        lambda: collect(store, 0, 0.0, NOW),
    ):  # fmt: skip
        with contextlib.suppress(OSError):
            use()


def _locked(store: Store) -> None:
    for name in (LOCK, "left behind", "new"):
        lock = store.lock(name)
        if lock is not None:
            lock.release()


def _behind_a_link(path: Path, outside: Path) -> None:
    """What was there is elsewhere now, as it was: it works, and it is not the cache's."""
    path.rename(outside / "moved")
    path.symlink_to(outside / "moved")


def _led_nowhere(path: Path, outside: Path) -> None:
    """Whoever makes what is missing makes it elsewhere."""
    _gone(path)
    path.symlink_to(outside / "new")


def _of_the_user(path: Path, outside: Path) -> None:
    """A folder or a file of somebody's, which looks nothing like a cache."""
    is_folder = path.is_dir()
    _gone(path)
    path.symlink_to(outside / ("home" if is_folder else "home/notes.json"))


def _second_name(path: Path, outside: Path) -> None:
    """Another name of a file of somebody's."""
    if path.is_dir():
        pytest.skip("a folder has one name")
    _gone(path)
    os.link(outside / "home/notes.json", path)


def _a_pipe(path: Path, outside: Path) -> None:
    _gone(path)
    os.mkfifo(path)


def _gone(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


@pytest.mark.parametrize("plant", [_behind_a_link, _led_nowhere, _of_the_user, _second_name, _a_pipe])
@pytest.mark.parametrize("place", PLACES)
def test_nothing_outside_is_written_or_deleted(
    store: Store, place: str, plant: Callable[[Path, Path], None]
) -> None:
    outside = store.root.parent / "outside"
    for name in (
        "notes.json",
        "x/y/z.json",
        "lock",
        "a.modelbuild-draft",
        "objects/x/y",
        "export.log",
        "x.gone/f",
    ):
        _write(outside / "home" / name, '{"precious": 1}\n')
    _grown(store)
    path = next(p for p in sorted(store.root.glob(place)))
    plant(path, outside)
    before = _all(outside)
    _used(store)
    _used(Store(store.root))
    assert _all(outside) == before


def test_a_link_in_a_cache_is_said_and_taken_out_by_a_check(store: Store, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    tree = made(store)
    (store.root / "ledger").symlink_to(tmp_path / "big")
    with pytest.raises(OSError, match="it is a link, and nothing in a cache is looked for behind one"):
        store.record(cheap(), entry(tree))
    (said,) = check(store).damaged
    assert (said.what, said.place, said.removed) == ("link", store.root / "ledger", True)
    store.record(cheap(), entry(tree))
    assert len(store.entries(cheap())) == 1
    assert not list((tmp_path / "big").iterdir())


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


# ---- whose the folder is ---------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """As ``/tmp``: everybody can make a name in it, and change only their own."""
    place = tmp_path / "tmp"
    place.mkdir()
    place.chmod(0o1777)
    return place


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make another user's folder")
@pytest.mark.parametrize("below", ["", "/deep/cache"])
def test_a_folder_of_another_user_where_all_can_make_one_is_refused(shared: Path, below: str) -> None:
    (shared / "cache").mkdir()
    os.chown(shared / "cache", 12345, 12345)
    with pytest.raises(ModelbuildError, match=r"tmp/cache belongs to another user \(uid 12345\)") as caught:
        Store(shared / f"cache{below}")
    (said,) = caught.value.diagnostics
    assert said.code == "cache-exposed"
    assert "name one of your own with `--cache-dir` or MODELBUILD_CACHE_DIR" in str(said.hint)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make another user's link")
def test_a_link_of_another_user_where_all_can_make_one_is_refused(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (shared / "cache").symlink_to(tmp_path / "mine")
    Store(shared / "cache")  # one's own link leads where one says
    os.lchown(shared / "cache", 12345, 12345)
    with pytest.raises(ModelbuildError, match="belongs to another user"):
        Store(shared / "cache")


def test_a_folder_that_everybody_can_write_where_all_can_make_one_is_refused(shared: Path) -> None:
    (shared / "cache").mkdir()
    (shared / "cache").chmod(0o777)
    with pytest.raises(ModelbuildError, match=r"tmp/cache can be written by everybody"):
        Store(shared / "cache")
    (shared / "cache").chmod(0o775)
    Store(shared / "cache")


def test_what_is_made_there_is_its_users_alone(shared: Path) -> None:
    mask = os.umask(0)
    try:
        made(Store(shared / "cache"))
        made(Store(shared / "deep" / "cache"))
    finally:
        os.umask(mask)
    assert (shared / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o2775, 0o777])
def test_a_cache_of_a_team_is_where_only_the_team_makes_names(tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    tree = made(Store(tmp_path / "cache"))
    assert Ledger(Store(tmp_path / "cache").layout).entries(cheap()) == []
    assert Store(tmp_path / "cache").folder(tree) is not None
