"""``cache stats``, ``verify`` and ``gc`` with ``--remote``: a folder, and what may be wrong in it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.builds.test_push import KEY, keyed, pushed, remote_files, shared, trusting
from tests.conftest import Project

pytest.importorskip("obstore")
__all__ = ["shared"]


@pytest.fixture
def sent(shared: Project) -> Project:
    """A project whose results are in its remote."""
    pushed(shared)
    return shared


def told(project: Project, job: str, *arguments: str, code: int = 0) -> dict[str, Any]:
    answer = project.run("cache", job, "--remote", "--format", "json", *arguments)
    assert answer.code == code, answer.stderr
    assert answer.report["ok"] is (code == 0)
    assert answer.report["remote"] == f"file://{project.folder}/remote"
    return answer.report


def entries(project: Project) -> list[Path]:
    return sorted((project.folder / "remote/v1/ledger").glob("*/*/*.json"))


def blobs(project: Project) -> list[Path]:
    """Files of the remote, the largest first."""
    found = (project.folder / "remote/v1/blobs").glob("*/*")
    return sorted(found, key=lambda p: (-p.stat().st_size, p.name))


def aged(path: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def rewritten(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


# ---- stats -------------------------------------------------------------------------------------


def test_stats_count_what_is_there_and_who_signed_it(sent: Project) -> None:
    there = remote_files(sent)
    found = told(sent, "stats")
    assert (found["entries"], found["files"]) == (len(entries(sent)), len(blobs(sent)))
    assert found["entry_bytes"] + found["file_bytes"] == sum(map(len, there.values()))
    assert list(found["signers"].values()) == [found["entries"]]


def test_an_empty_remote_holds_nothing(shared: Project) -> None:
    assert told(shared, "stats")["entries"] == 0
    assert "results  0, 0 B" in shared.run("cache", "stats", "--remote").stdout


# ---- verify ------------------------------------------------------------------------------------


def test_a_whole_remote_is_said_to_be_whole(sent: Project) -> None:
    found = told(sent, "verify")
    assert (found["entries"], found["files"]) == (len(entries(sent)), len(blobs(sent)))
    assert found["damaged"] == []
    assert "all as they were sent" in sent.run("cache", "verify", "--remote").stdout


def test_results_that_were_sent_without_their_files_are_whole(shared: Project) -> None:
    assert pushed(shared, "--published-only")["bare_bytes"] > 0
    assert told(shared, "verify")["damaged"] == []


def _flip(project: Project) -> Path:
    path = blobs(project)[0]
    rewritten(path, path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    return path


def _cut(project: Project) -> Path:
    path = blobs(project)[0]
    rewritten(path, path.read_bytes()[:-1])
    return path


def _forge(project: Project) -> Path:
    path = entries(project)[0]
    data = path.read_bytes()
    at = data.index(b'"sig":"') + 10
    rewritten(path, data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :])
    return path


def _replay(project: Project) -> Path:
    first, second, *_ = entries(project)
    rewritten(second, first.read_bytes())
    return second


def _rename(project: Project) -> Path:
    path = entries(project)[0]
    digits = path.name[:64]
    return path.rename(path.with_name(path.name.replace(digits, "0" * 64)))


def _stray(project: Project) -> Path:
    path = project.folder / "remote/v1/ledger/notes.txt"
    path.write_text("mine")
    return path


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_flip, ""),
        (_cut, ""),
        (_forge, "its signature is not of what it says"),
        (_replay, "it lies under another key, or another salt, than its own"),
        (_rename, "it is not called as its full key is"),
        (_stray, "it has no name that an entry or a file has"),
    ],
)
def test_what_no_reader_takes_is_named(sent: Project, harm: Any, said: str) -> None:
    name = str(harm(sent).relative_to(sent.folder / "remote"))
    found = told(sent, "verify", code=1)
    problems = {row["name"]: row["problem"] for row in found["damaged"]}
    assert said in problems[name]
    text = sent.run("cache", "verify", "--remote").stdout
    assert f"{name}: " in text
    assert f"{len(problems)} damaged" in text


def test_a_file_that_is_gone_is_told_with_the_result_that_names_it(sent: Project) -> None:
    blobs(sent)[0].unlink()
    (row, *_) = told(sent, "verify", code=1)["damaged"]
    assert row["name"].startswith("v1/ledger/")
    assert row["problem"].endswith(" is not there")


def test_what_a_key_signed_that_is_no_longer_trusted_is_damage(sent: Project) -> None:
    trusting(sent, f'"{keyed(sent, "new.pem")}"')
    found = told(sent, "verify", code=1)
    assert len(found["damaged"]) == found["entries"]
    assert "it is signed by a key that is not in `trust`" in found["damaged"][0]["problem"]


# ---- gc ----------------------------------------------------------------------------------------


def test_what_was_sent_lately_stays(sent: Project) -> None:
    before = remote_files(sent)
    found = told(sent, "gc", "--max-age", "30d")
    assert (found["entries"], found["files"], found["bytes"]) == (0, 0, 0)
    assert remote_files(sent) == before


def test_an_old_result_goes_and_its_files_with_it_and_no_other(sent: Project) -> None:
    before = remote_files(sent)
    for path in [*entries(sent), *blobs(sent)]:
        aged(path, 40)
    kept = entries(sent)[0]
    aged(kept, 1)
    found = told(sent, "gc", "--max-age", "30d")
    after = remote_files(sent)
    assert entries(sent) == [kept]
    assert found["left"] == sum(map(len, after.values()))
    assert found["bytes"] == sum(map(len, before.values())) - found["left"]
    assert told(sent, "verify")["damaged"] == []


def test_a_file_without_a_result_stays_while_it_is_young(sent: Project) -> None:
    """A push that is at work has sent it, and its result comes last."""
    shutil.rmtree(sent.folder / "remote/v1/ledger")
    for path in blobs(sent)[1:]:
        aged(path, 40)
    young = blobs(sent)[0]
    assert told(sent, "gc", "--max-age", "30d")["files"] > 0
    assert blobs(sent) == [young]


def test_a_stranger_s_result_keeps_its_files_too(sent: Project) -> None:
    """Two projects may share a bucket and trust different keys."""
    trusting(sent, f'"{keyed(sent, "new.pem")}"')
    before = remote_files(sent)
    for path in blobs(sent):
        aged(path, 40)
    told(sent, "gc", "--max-age", "30d")
    assert remote_files(sent) == before


def test_what_was_deleted_is_sent_again(sent: Project) -> None:
    before = remote_files(sent)
    assert told(sent, "gc", "--max-age", "0s")["left"] == 0
    assert pushed(sent)["sent"] == len([name for name in before if "ledger" in name])
    assert remote_files(sent).keys() == before.keys()


def test_the_local_cache_and_what_is_published_are_not_touched(sent: Project) -> None:
    del sent.environment[KEY]  # with which nothing is built
    assert set(sent.build().statuses.values()) == {"cached"}
    told(sent, "gc", "--max-age", "0s")
    assert set(sent.build().statuses.values()) == {"cached"}
