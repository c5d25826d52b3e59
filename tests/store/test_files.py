"""Published files are the old ones or the new ones, never some of each."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from modelbuild.store import hash_file, publish_all, write_atomically
from modelbuild.store.files import clear_drafts, remove
from tests.store.processes import Other, dies, together

NAMES = ("net.onnx.data", "net.onnx")


def _sources(folder: Path, text: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        (folder / name).write_text(text)
        (folder / name).chmod(0o444)
    return [folder / name for name in NAMES]


def _pairs(folder: Path, text: str, out: Path) -> list[tuple[Path, Path]]:
    return [(source, out / source.name) for source in _sources(folder / text, text)]


def _read(out: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in out.iterdir()}


def test_what_is_published_is_a_writable_copy(tmp_path: Path) -> None:
    pairs = _pairs(tmp_path, "new", tmp_path / "a/build")
    publish_all(pairs)
    assert _read(tmp_path / "a/build") == dict.fromkeys(NAMES, "new")
    for source, target in pairs:
        target.write_text("edited by the user")
        assert source.read_text() == "new"


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_the_old_files_or_the_new_or_no_main_file(tmp_path: Path) -> None:
    seen = set()
    for step in itertools.count():
        out = tmp_path / f"out{step}"
        publish_all(_pairs(tmp_path, "old", out))
        pairs = _pairs(tmp_path, "new", out)
        killed = dies(lambda pairs=pairs: publish_all(pairs), step)  # type: ignore[misc]
        files = _read(out)
        state = tuple(files.get(name, "none") for name in NAMES)
        assert state in {("old", "old"), ("old", "none"), ("new", "none"), ("new", "new")}
        seen.add(state)
        publish_all(_pairs(tmp_path, "newer", out))
        assert _read(out) == dict.fromkeys(NAMES, "newer")  # and the drafts of the dead are gone
        if not killed:
            break
    assert len(seen) == 4


def test_one_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for step in itertools.count():
        publish_all(_pairs(tmp_path, "old", out)[1:])
        pairs = _pairs(tmp_path, "new", out)[1:]
        killed = dies(lambda pairs=pairs: publish_all(pairs), step)  # type: ignore[misc]
        assert (out / "net.onnx").read_text() in ("old", "new")
        if not killed:
            break
    assert step > 5


def test_a_source_that_cannot_be_read_leaves_the_old_files_and_no_draft(tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish_all(_pairs(tmp_path, "old", out))
    pairs = _pairs(tmp_path, "new", out)
    pairs[1][0].unlink()
    with pytest.raises(FileNotFoundError):
        publish_all(pairs)
    assert _read(out) == dict.fromkeys(NAMES, "old")


def test_a_full_disk_leaves_the_old_files_and_no_draft(tmp_path: Path, disk: Callable[[str], Path]) -> None:
    out = disk("size=64k")
    publish_all(_pairs(tmp_path, "old", out))
    pairs = _pairs(tmp_path, "new", out)
    pairs[1][0].unlink()
    pairs[1][0].write_bytes(bytes(100_000))
    with pytest.raises(OSError, match="No space left on device"):
        publish_all(pairs)
    assert _read(out) == dict.fromkeys(NAMES, "old")
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(out / "net.onnx", "x" * 100_000)
    assert _read(out) == dict.fromkeys(NAMES, "old")


def test_only_the_drafts_of_dead_processes_are_cleared(tmp_path: Path) -> None:
    (tmp_path / ".net.onnx.hidden").write_text("the user's")

    def half() -> object:
        from modelbuild.store.files import _draft

        context = _draft(tmp_path / "net.onnx")
        context.__enter__()
        return context

    with Other(half) as other:
        clear_drafts(tmp_path)
        assert len(list(tmp_path.iterdir())) == 2
        other.kill()
        assert len(list(tmp_path.iterdir())) == 2
        clear_drafts(tmp_path)
    assert _read(tmp_path) == {".net.onnx.hidden": "the user's"}


def test_builds_that_publish_at_once_never_mix_their_files(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def publish(text: str) -> None:
        pairs = _pairs(tmp_path, text, out)
        for _ in range(100):
            publish_all(pairs)

    together(*(partial(publish, text) for text in ("one", "two", "three")))
    files = _read(out)
    assert set(files) == set(NAMES)
    assert len(set(files.values())) == 1


def test_another_build_waits_while_a_set_is_renamed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish_all(_pairs(tmp_path, "old", out))
    fd = os.open(out, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)  # as one that is between two renames
    pairs = _pairs(tmp_path, "new", out)
    pid = os.fork()
    if pid == 0:
        os.close(fd)
        publish_all(pairs)
        os._exit(0)
    while len(list(out.glob(".*-draft"))) < 2:
        pass
    assert (out / "net.onnx").read_text() == "old"
    os.close(fd)
    assert os.waitpid(pid, 0)[1] == 0
    assert _read(out) == dict.fromkeys(NAMES, "new")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.ENOSYS])
def test_a_folder_that_cannot_be_locked_can_be_published_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    publish_all(_pairs(tmp_path, "new", tmp_path / "out"))
    assert _read(tmp_path / "out") == dict.fromkeys(NAMES, "new")


def test_a_digest_is_that_of_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("abc")
    file = hash_file(path)
    assert file.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file.bytes == 3


def test_readers_of_a_text_see_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "folder/manifest.json"
    write_atomically(path, "old")
    for step in itertools.count():
        killed = dies(lambda: write_atomically(path, "new"), step)
        assert path.read_text() in ("old", "new")
        if not killed:
            break
        write_atomically(path, "old")
    assert step > 3
    assert path.read_text() == "new"
    clear_drafts(path.parent)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_folder_that_takes_no_file_ends_in_an_error_and_not_in_a_loop() -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(Path("/proc/modelbuild.txt"), "text")


def test_where_the_weights_cannot_be_replaced_no_old_graph_is_beside_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish_all(_pairs(tmp_path, "old", out))
    (out / NAMES[0]).unlink()
    (out / NAMES[0] / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"net\.onnx\.data"):
        publish_all(_pairs(tmp_path, "new", out))
    assert not (out / NAMES[1]).exists()


def test_what_is_in_the_place_of_a_file_is_removed_and_not_what_a_link_leads_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(kept)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for name in ("link", "folder", "nothing"):
        remove(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert (kept / "inner").is_dir()
