"""A remote on a real S3 server with real permissions: who reads, who writes, who is first."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from modelbuild.remote.bucket import Bucket, Damaged, Off
from modelbuild.store import File, Store
from tests.remote import server as servers
from tests.remote.server import Server
from tests.remote.team import SHORT, Team, said


def test_what_one_has_pushed_another_reads(team_on_s3: Team) -> None:
    made = team_on_s3.made(b"x" * 300_000)
    team_on_s3.push(made)
    reader = team_on_s3.reader()
    (signed,) = reader.entries(made.lookup_key, "export")
    assert signed.entry == made.entry
    assert signed.by == team_on_s3.signer.public
    assert reader.fetch(signed.entry.tree)
    assert Store(team_on_s3.folder / "reader").intact(made.entry.tree)
    assert (reader.bytes, reader.said(), reader.off) == (300_000, (), None)


def test_what_is_not_there_is_a_miss_without_a_word(team_on_s3: Team) -> None:
    reader = team_on_s3.reader()
    assert reader.entries(team_on_s3.made(opset=99).lookup_key, "export") == []
    assert (reader.said(), reader.off) == ((), None)


def test_a_pull_request_reads_and_its_write_is_refused_by_the_server(
    team_on_s3: Team, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = team_on_s3.made()
    team_on_s3.push(made)
    for name, value in server.environment(servers.PULL_REQUEST).items():
        monkeypatch.setenv(name, value)
    assert len(team_on_s3.reader().entries(made.lookup_key, "export")) == 1
    for what in ("v1/blobs/ab/new", made.blobs[0], team_on_s3.name(made)):
        bucket = team_on_s3.bucket()
        with pytest.raises(Off, match=rf"not allowed to write {what}"):
            bucket.create(what, b"mine")
    with pytest.raises(Off, match="not allowed to delete"):
        team_on_s3.bucket().delete(made.blobs[0])
    assert team_on_s3.bucket().content(made.blobs[0], 100) == b"the graph"


def test_who_has_no_credentials_is_told_so_at_once_and_the_build_goes_on(
    team_on_s3: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    reader = team_on_s3.reader()
    began = time.monotonic()
    assert reader.entries(team_on_s3.made().lookup_key, "export") == []
    assert time.monotonic() - began < 5  # a metadata address that nobody answers takes longer
    assert "is off for the rest of this command" in said(reader)


def test_a_file_is_never_written_over(team_on_s3: Team) -> None:
    bucket = team_on_s3.bucket()
    assert bucket.create("v1/blobs/aa/one", b"first")
    assert not bucket.create("v1/blobs/aa/one", b"second")
    assert bucket.content("v1/blobs/aa/one", 100) == b"first"


def test_of_sixteen_writers_at_once_one_wins_and_its_bytes_stay(team_on_s3: Team) -> None:
    buckets = [team_on_s3.bucket() for _ in range(16)]
    won: list[int] = []
    at_once = threading.Barrier(16)

    def write(number: int) -> None:
        buckets[number].exists("v1/warm")
        at_once.wait()
        if buckets[number].create("v1/race", b"writer %d" % number):
            won.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert team_on_s3.bucket().content("v1/race", 100) == b"writer %d" % won[0]


def test_a_file_that_is_larger_than_its_entry_says_is_cut_off(team_on_s3: Team, tmp_path: Path) -> None:
    bucket = team_on_s3.bucket()
    bucket.create("v1/blobs/aa/large", b"x" * 5_000_000)
    with pytest.raises(Damaged, match="it has more than its 100 bytes"):
        bucket.fetch("v1/blobs/aa/large", File("0" * 64, 100), tmp_path / "target")
    with pytest.raises(Damaged, match="it is larger than 100 bytes"):
        bucket.content("v1/blobs/aa/large", 100)
    assert not (tmp_path / "target").exists()
    assert bucket.off is None


def test_owners_list_sizes_and_times_and_delete(team_on_s3: Team) -> None:
    bucket = team_on_s3.bucket()
    bucket.create("v1/blobs/aa/one", b"12345")
    (held,) = bucket.held("v1/")
    assert (held.name, held.bytes) == ("v1/blobs/aa/one", 5)
    assert abs(held.modified - time.time()) < 120
    bucket.delete("v1/blobs/aa/one")
    bucket.delete("v1/blobs/aa/one")
    assert not bucket.exists("v1/blobs/aa/one")


def test_a_wrong_secret_turns_it_off_and_says_so(team_on_s3: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    bucket = Bucket(team_on_s3.remote, writes=False, limits=SHORT)
    with pytest.raises(Off):
        bucket.names("v1/", 10)
    began = time.monotonic()
    with pytest.raises(Off):
        bucket.names("v1/", 10)
    assert time.monotonic() - began < 0.1
