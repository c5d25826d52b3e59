"""Whole builds on a cache that somebody else has written to: nothing outside it is touched, nothing of
it is taken for more than it is, and the files that come out are the right ones.

What a cache is read by is `tests/store/test_poisoning.py`; here it is at work.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelbuild import quick
from modelbuild.state import format as state
from modelbuild.store import File, Store, hash_file
from modelbuild.store.objects import named
from modelbuild.store.sealing import seal
from tests.builds.test_kills import Growing
from tests.conftest import Answer, Project

EVIL = b"import os; os.abort()\n"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("pristine"))
    Growing(project).next_model(1)
    assert project.build().code == 0
    return project


@pytest.fixture
def poisoned(pristine: Project, tmp_path: Path) -> Project:
    """A copy with a cache, and nothing published."""
    project = Project(tmp_path / "a" / "b")
    project.folder.mkdir(parents=True)
    for name in ("net.yaml", "net.onnx"):
        shutil.copy(pristine.folder / name, project.folder)
    project.write("net.py", "fine = True\n")
    project.take_cache(pristine)
    return project


def _outside(project: Project) -> dict[str, str]:
    """Every file but those of the cache and of the output folder."""
    top = project.folder.parents[1]
    skip = (project.folder / "cache", project.folder / "build")
    found = (p for p in top.rglob("*") if p.is_file() and not any(p.is_relative_to(s) for s in skip))
    return {str(p): hash_file(p).sha256 for p in found}


def _published(project: Project) -> dict[str, str]:
    found = project.folder.glob("build/net/*")
    return {p.name: hash_file(p).sha256 for p in found if p.name != "manifest.json"}


def _entries(project: Project, filename: str) -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for path in project.folder.glob("cache/ledger/*/*/*.json"):
        content = json.loads(path.read_text())["content"]
        if filename in content["tree"]["files"]:
            found.append((path, content))
    return found


def _with_files(project: Project, files: dict[str, bytes]) -> None:
    """Let the entry of net.fp32.onnx name an object that holds these files, which is there as far as
    an object can be: with as many names as a file system takes in one folder."""
    store = Store(project.folder / "cache")
    ((path, content),) = _entries(project, "net.fp32.onnx")
    own = store.layout.object(content["tree"]["digest"])
    listing = {n: File(*row) for n, row in content["tree"]["files"].items()}
    work = project.folder.parent / "made"
    shutil.copytree(own, work)
    for name, data in files.items():
        target = work / name
        if not os.path.isabs(name):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.resolve().is_relative_to(work):
                target.write_bytes(data)
        listing[name] = File(_sha256(data), len(data))
    tree = named(listing)
    place = store.layout.object(tree.digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    work.rename(place)
    content["tree"] = {"digest": tree.digest, "files": {n: [f.sha256, f.bytes] for n, f in listing.items()}}
    path.write_text(seal(content))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["../../net.py", "manifest.json"])
def test_an_entry_writes_no_file_but_its_artifact(poisoned: Project, pristine: Project, name: str) -> None:
    _with_files(poisoned, {name: EVIL})
    before = _outside(poisoned)
    _is_right(poisoned.build(), poisoned, pristine)
    assert _outside(poisoned) == before


def _is_right(answer: Answer, project: Project, pristine: Project) -> None:
    assert answer.code == 0, answer.stdout
    assert answer.statuses["net.fp32.onnx"] == "built"
    assert _published(project) == _published(pristine)


def test_what_an_entry_says_is_what_a_step_says(poisoned: Project, pristine: Project) -> None:
    for number, (path, content) in enumerate(_entries(poisoned, "net.fp32.onnx")):
        content["diagnostics"] = [{"code": "x", "message": None, "level": number}]
        path.write_text(seal(content))
    for path in poisoned.folder.glob("cache/ledger/*/*/*.json"):
        content = json.loads(path.read_text())["content"]
        if "parity" in content["data"]:
            content["data"]["parity"] = {"outputs": 3}
            path.write_text(seal(content))
    for path in poisoned.folder.glob("cache/history/*.json"):
        content = json.loads(path.read_text())["content"]
        for row in content["actions"].values():
            row["peak"], row["facts"]["step"] = "much", []
        path.write_text(seal(content))
    for command in ("status", "graph"):
        assert poisoned.run(command, "net.yaml").code == 0
    _is_right(poisoned.build(), poisoned, pristine)


PLACES = ["objects", "ledger", "logs/*", "logs/*/net"]


def test_links_in_a_cache_lead_nowhere(poisoned: Project, pristine: Project) -> None:
    """What a build cannot write because of one is an error or a warning; nothing lands behind it."""
    home = poisoned.folder.parent / "home"
    home.mkdir()
    (home / "fp32.log").write_text("precious")
    (home / "export.log").write_text("precious")
    cache = poisoned.folder / "cache"
    for place in PLACES:
        shutil.rmtree(cache)
        shutil.copytree(pristine.folder / "cache", cache)
        shutil.rmtree(poisoned.folder / "build", ignore_errors=True)
        (path,) = cache.glob(place)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        path.symlink_to(home)
        before = _outside(poisoned)
        answer = poisoned.build()
        assert _outside(poisoned) == before, place
        if answer.code == 0:
            assert _published(poisoned) == _published(pristine)
        else:
            assert "it is a link, and nothing in a cache" in answer.stdout + answer.stderr, place


@pytest.fixture
def idle(poisoned: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state file of a project with nothing to do, which this process is in."""
    assert poisoned.build().code == 0
    monkeypatch.chdir(poisoned.folder)
    monkeypatch.setenv("MODELBUILD_CACHE_DIR", str(poisoned.folder / "cache"))
    (path,) = (p for p in poisoned.folder.glob("cache/state/*") if p.suffix != ".json")
    return path


def _packed(body: bytes) -> bytes:
    return state._FORMAT + b"%08x\n" % zlib.crc32(body) + body


CHANGES: list[Callable[[bytes], bytes]] = [
    lambda body: body.replace(b"nothing to do", b""),
    lambda body: body.replace(b"net.fp32.onnx", b"\x1b]0;x\x07"),
    lambda body: body.replace(b"net.fp32.onnx", b"\xc2\x9b31m"),
    lambda body: body.replace(b"\0", b"\n"),
    lambda body: body[:40],
    lambda body: b"\0" * 5,
    lambda body: body.replace(b"file ", b"glob /**/"),
    lambda body: body.replace(b"\t", b"\n", 3),
]


def test_a_state_file_that_says_something_else_ends_in_the_slow_path(
    idle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = idle.read_bytes()[len(state._FORMAT) + 9 :]
    touched = Path("net.onnx")
    for number, change in enumerate(CHANGES):
        changed = change(body)
        assert changed != body, number
        idle.write_bytes(_packed(changed))
        os.utime(touched)  # its fact is looked at, which a stranger may have written
        for form in ("text", "json"):
            assert quick.answer(["build", "net.yaml", "--format", form]) in (None, 0)
        assert not any(c in capsys.readouterr().out for c in "\x1b\x07\x9b")


def test_an_answer_that_is_none_is_not_given(idle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = state.unpacked(idle.read_bytes())
    assert known is not None
    for text in ("{}", "[]", "3", "[" * 9999, '{"artifacts": [{}]}', '{"artifacts": 3}', "{"):
        idle.with_name(f"{idle.name}.json").write_text(text)
        known.answer = f"{zlib.crc32(text.encode()):08x}"
        idle.write_bytes(known.packed())
        assert quick.answer(["build", "net.yaml", "--format", "json"]) is None
        assert capsys.readouterr().out == ""


def test_a_state_is_not_written_through_a_link(poisoned: Project) -> None:
    target = poisoned.folder / "precious"
    target.write_text("precious")
    place = poisoned.folder / "cache" / "state" / "x"
    place.parent.mkdir(exist_ok=True)
    (place.parent / f"x.{os.getpid()}").symlink_to(target)
    assert state.save(str(place), b"data")
    assert (target.read_text(), place.read_bytes()) == ("precious", b"data")
    place.unlink()
    place.symlink_to(target)
    assert state.load(str(place)) is None
    place.unlink()
    os.mkfifo(place)
    assert not state.load(str(place))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make another user's folder")
def test_a_folder_that_another_user_made_in_a_shared_one_is_refused_by_every_command(
    pristine: Project, tmp_path: Path
) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    shutil.copytree(pristine.folder / "cache", shared / f"modelbuild-{os.getuid()}")
    homeless = dict.fromkeys(("MODELBUILD_CACHE_DIR", "XDG_CACHE_HOME"), "")
    pristine.environment = {**homeless, "HOME": "nowhere", "TMPDIR": str(shared)}
    try:
        assert pristine.run("build", "net.yaml").code == 0
        os.chown(shared / f"modelbuild-{os.getuid()}", 12345, 12345)
        for command in (("build", "net.yaml"), ("status", "net.yaml"), ("cache", "verify")):
            answer = pristine.run(*command)
            assert answer.code == 1
            assert "error[cache-exposed]: the cache folder" in answer.stderr
            assert "belongs to another user (uid 12345)" in answer.stderr
    finally:
        pristine.environment = {}
