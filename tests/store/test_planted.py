"""Links, pipes and more files in the place of what a cache holds: nothing outside is touched."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.base.errors import ModelbuildError
from modelbuild.store import Store, check, collect, stats
from modelbuild.store.ledger import Ledger
from modelbuild.store.objects import named
from tests.store.conftest import entry, lookup_key, made
from tests.store.strangers import ACTION, LOCK, NOW, everything, write

pytestmark = pytest.mark.usefixtures("in_time")


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
    before = everything(outside)
    assert not store.intact(tree)
    assert store.folder(tree) is None
    assert store.pin(tree) is None
    assert made(store) == tree  # set aside, and made again
    assert store.intact(tree)
    assert everything(outside) == before


def test_a_step_that_leaves_a_link_or_a_folder_makes_no_object(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for plant in (lambda p: p.symlink_to(tmp_path / "secret"), Path.mkdir):
        folder = store.workspace()
        plant(folder / "model")
        with pytest.raises(OSError, match="it is no plain file"):
            store.put(folder)
    assert not list(store.layout.objects())


# ---- links and pipes in the place of everything ---------------------------------------------------

RECIPE = "net"


def _grown(store: Store) -> None:
    """A cache with something in each of its places."""
    tree = made(store)
    store.record(lookup_key(), entry(tree))
    store.remember("r", {"export": {**ACTION, "tree": tree.digest}})
    store.set_aside(made(store, "damaged").digest)
    store.log(store.root, RECIPE, "export").write_text("said\n")
    store.count(1, 0, 1.0, 10)
    write(store.root / "state/net.yaml.00000000", "state")
    write(store.layout.lock(LOCK), "123\n")
    write(store.layout.lock("left behind"), "123\n")
    write(store.root / "history/x.json.modelbuild-draft", "")
    store.close()


PLACES = [
    "objects", "objects/*", "objects/*/*", "objects/*/*/model", "ledger", "ledger/*", "ledger/*/*",
    "ledger/*/*/*.json", "history", "history/*.json", "history/*-draft", "aside", "aside/*", "work", "locks",
    "locks/*", "logs", "logs/*", "logs/*/net", "logs/*/net/export.log", "state", "state/*", "stats.jsonl",
    "gate",
]  # fmt: skip


def _used(store: Store) -> None:
    """Everything that can be done with a cache; what cannot be written is an error, and no other."""
    for use in (
        lambda: made(store), lambda: made(store, "other"), lambda: made(store, "damaged"),
        lambda: store.record(lookup_key(), entry(named({}))), lambda: store.entries(lookup_key()),
        lambda: store.remember("r", {"export": ACTION}), lambda: store.history("r"),
        lambda: store.set_aside(made(store).digest), lambda: store.count(1, 0, 1.0, 10),
        lambda: store.log(store.root, RECIPE, "export"), lambda: _locked(store), lambda: store.holder(LOCK),
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
        write(outside / "home" / name, '{"precious": 1}\n')
    _grown(store)
    path = next(p for p in sorted(store.root.glob(place)))
    plant(path, outside)
    before = everything(outside)
    _used(store)
    _used(Store(store.root))
    assert everything(outside) == before


def test_a_link_in_a_cache_is_said_and_taken_out_by_a_check(store: Store, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    tree = made(store)
    (store.root / "ledger").symlink_to(tmp_path / "big")
    with pytest.raises(OSError, match="it is a link, and nothing in a cache is looked for behind one"):
        store.record(lookup_key(), entry(tree))
    (said,) = check(store).damaged
    assert (said.what, said.place, said.removed) == ("link", store.root / "ledger", True)
    store.record(lookup_key(), entry(tree))
    assert len(store.entries(lookup_key())) == 1
    assert not list((tmp_path / "big").iterdir())


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
    assert Ledger(Store(tmp_path / "cache").layout).entries(lookup_key()) == []
    assert Store(tmp_path / "cache").folder(tree) is not None
