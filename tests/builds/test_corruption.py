"""Any file of the cache cut short, flipped, deleted or replaced: found, made again, never published.

The model is a tiny ONNX file, so that a build takes a second; the damage is real.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.store import Store, check, hash_file
from tests.builds.test_kills import Growing
from tests.conftest import Project


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    bit = random.Random(len(data)).randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def _deleted(path: Path) -> None:
    path.unlink()


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: tuple[Callable[[Path], None], ...] = (_emptied, _halved, _flipped, _deleted, _a_folder)


class Cache:
    """A built project whose cache can be put back as it was."""

    def __init__(self, folder: Path) -> None:
        self.project = Project(folder / "project")
        self.project.folder.mkdir()
        Growing(self.project).next_model(1)
        assert self.project.build().code == 0
        self.pristine = folder / "pristine"
        shutil.copytree(self.project.folder / "cache", self.pristine)
        self.outputs = self.published()

    def published(self) -> dict[str, str]:
        return {p.name: hash_file(p).sha256 for p in self.project.folder.glob("build/net/*.onnx")}

    def damaged(self, place: str, damage: Callable[[Path], None]) -> list[str]:
        """Put the cache back, damage one file, and say what a check finds."""
        cache = self.project.folder / "cache"
        shutil.rmtree(cache)
        shutil.copytree(self.pristine, cache)
        path = sorted(cache.glob(place))[0]
        path.chmod(0o644)
        damage(path)
        shutil.copytree(cache, copy := self.pristine.parent / "copy")
        found = [d.what for d in check(Store(copy)).damaged]
        shutil.rmtree(copy)
        return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return Cache(tmp_path_factory.mktemp("corruption"))


PLACES = {
    "objects/*/*/net.fp16.onnx": ("object", DAMAGE),
    "objects/*/*/model.onnx": ("object", (_flipped, _deleted)),
    "ledger/*/*/*.json": ("entry", DAMAGE),
    "history/*.json": ("history", (_halved, _a_folder)),
    "state/*": (None, (_flipped, _a_folder)),
    "stats.jsonl": (None, (_halved, _a_folder)),
}


@pytest.mark.parametrize(
    ("place", "what", "damage"),
    [
        pytest.param(place, what, damage, id=f"{place.partition('/')[0]}{number}{damage.__name__}")
        for number, (place, (what, damages)) in enumerate(PLACES.items())
        for damage in damages
    ],
)
def test_damage_anywhere_is_never_published(
    cache: Cache, place: str, what: str | None, damage: Callable[[Path], None]
) -> None:
    found = cache.damaged(place, damage)
    missing = damage is _deleted and what != "object"  # nobody can tell that it ever was there
    assert found == ([what] if what and not missing else [])
    shutil.rmtree(cache.project.folder / "build")
    answer = cache.project.build()
    assert answer.code == 0, answer.stdout
    assert cache.published() == cache.outputs
    if "net.fp16.onnx" in place:
        assert "it was set aside and made again" in answer.said("cache-corrupt")
        assert answer.statuses == {"net.fp32.onnx": "cached", "net.fp16.onnx": "built"}
    again = cache.project.build()
    assert set(again.statuses.values()) == {"cached"}
    assert again.diagnostics == []


def test_a_published_file_that_is_a_link_into_the_store_does_not_let_anybody_write_there(
    cache: Cache,
) -> None:
    cache.damaged("stats.jsonl", _deleted)
    output = cache.project.output("net.fp32.onnx")
    (stored,) = cache.project.folder.glob("cache/objects/*/*/net.fp32.onnx")
    output.unlink()
    output.symlink_to(stored)
    output.parent.joinpath("net.fp16.onnx").write_bytes(b"scribble")
    assert cache.project.build().code == 0
    assert cache.published() == cache.outputs
    assert check(Store(cache.project.folder / "cache")).damaged == ()
