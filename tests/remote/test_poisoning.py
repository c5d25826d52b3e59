"""Each way to put something wrong into a remote: none is ever used, and each is told for what it is.

Whoever does it here can write everything into the remote, and has no secret key that is trusted.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.keys import digest, full_key
from modelbuild.remote import statements
from modelbuild.remote.configured import Trusted
from modelbuild.remote.reading import Reader
from modelbuild.store import Entry, File, Store
from tests.remote.team import FACTS, Made, Team, changed, new_signer, said


def refused(team: Team, made: Made, words: str, reader: Reader | None = None, step: str = "export") -> None:
    """Nothing is used of what lies under the key, one warning says why, and the build goes on."""
    reader = team.reader() if reader is None else reader
    assert reader.entries(made.lookup_key, step) == []
    assert words in said(reader)
    assert [(d.code, d.level) for d in reader.said()] == [("remote-untrusted", "warning")]
    assert reader.off is None


def damaged(team: Team, made: Made, words: str) -> None:
    """The entry is as it was signed, a file is not: nothing of it comes into the store."""
    reader = team.reader()
    (signed,) = reader.entries(made.lookup_key, "export")
    assert not reader.fetch(signed.entry.tree)
    assert words in said(reader)
    assert [(d.code, d.level) for d in reader.said()] == [("remote-damaged", "warning")]
    assert Store(team.folder / "reader").folder(made.entry.tree) is None
    assert reader.bytes == 0
    assert reader.off is None


def blob(team: Team, made: Made) -> Path:
    (name,) = made.blobs
    return team.root / name


# ---- entries ----


def test_an_entry_as_it_was_pushed_is_used(team: Team) -> None:
    made = team.made()
    team.push(made)
    reader = team.reader()
    (signed,) = reader.entries(made.lookup_key, "export")
    assert reader.fetch(signed.entry.tree)
    assert reader.said() == ()


def test_an_entry_by_an_unknown_key_is_not_even_read(team: Team) -> None:
    made, stranger = team.made(), new_signer()
    team.push(made, team.envelope(made, stranger), team.name(made, stranger))
    refused(team, made, f"it is signed by a key that is not in `trust`: {stranger.keyid}")


def test_an_entry_by_an_unknown_key_under_the_name_of_a_trusted_one(team: Team) -> None:
    made, stranger = team.made(), new_signer()
    team.push(made, team.envelope(made, stranger))
    refused(team, made, f"it is signed by a key that is not in `trust`: {stranger.keyid}")


def test_a_signature_that_only_says_that_it_is_by_a_trusted_key(team: Team) -> None:
    made, stranger = team.made(), new_signer()
    (row,) = json.loads(team.envelope(made, stranger))["signatures"]
    forged = changed(team.envelope(made, stranger), signatures=[{**row, "keyid": team.signer.keyid}])
    team.push(made, forged)
    refused(team, made, "its signature is not of what it says")


def test_cross_signed_by_a_stranger_beside_a_signature_of_other_bytes(team: Team) -> None:
    made, other, stranger = team.made(), team.made(b"other", opset=17), new_signer()
    ours, theirs = (
        json.loads(e)["signatures"] for e in (team.envelope(other), team.envelope(made, stranger))
    )
    team.push(made, changed(team.envelope(made, stranger), signatures=[*theirs, *ours]))
    refused(team, made, "its signature is not of what it says")


def test_an_entry_without_a_signature(team: Team) -> None:
    made = team.made()
    team.push(made, changed(team.envelope(made), signatures=[]))
    refused(team, made, "nobody has signed it")


def test_an_entry_that_was_changed_after_it_was_signed(team: Team) -> None:
    made, evil = team.made(), team.made(b"evil")
    team.push(made, changed(team.envelope(made), payload=json.loads(team.envelope(evil))["payload"]))
    refused(team, made, "its signature is not of what it says")


def test_a_statement_that_is_signed_as_something_else(team: Team) -> None:
    made = team.made()
    team.push(made, changed(team.envelope(made), payloadType="text/plain"))
    refused(team, made, "it is no signed statement")


def test_a_replayed_entry_of_another_action(team: Team) -> None:
    made, other = team.made(), team.made(b"other", opset=17)
    team.push(made, team.envelope(other))
    refused(team, made, "it is signed for another key, or another salt")


def test_an_entry_under_the_key_of_another_step(team: Team) -> None:
    made = team.made()
    team.push(made)
    refused(team, made, "it is signed for another step, export", step="engine")


def test_an_older_entry_of_the_same_action_under_the_name_of_another(team: Team) -> None:
    made, other = team.made(), team.made(b"other", opset=17)
    name = team.name(made).replace(made.entry.key[7:], other.entry.key[7:])
    team.push(made, name=name)
    refused(team, made, "it is called as another entry")


def test_an_entry_with_another_salt_is_not_found_and_a_copied_one_is_refused(team: Team) -> None:
    made = team.made()
    team.push(made)
    reader = team.reader(salt="ours")
    assert (reader.entries(made.lookup_key, "export"), reader.said()) == ([], ())
    salted = Team(team.folder, team.url, "ours", team.signer)
    salted.push(made, team.envelope(made))
    refused(salted, made, "it is signed for another key, or another salt", salted.reader("second"))


def test_a_key_that_was_revoked(team: Team) -> None:
    made = team.made()
    team.push(made)
    reader = team.reader(trust=(Trusted(new_signer().raw),))
    refused(team, made, f"it is signed by a key that is not in `trust`: {team.signer.keyid}", reader)


def test_a_key_signs_only_for_its_steps(team: Team) -> None:
    made = team.made()
    team.push(made)
    reader = team.reader(trust=(Trusted(team.signer.raw, frozenset({"engine"})),))
    refused(team, made, "its key may not sign for the step export", reader)
    limited = Team(team.folder, team.url, "", team.signer, (Trusted(team.signer.raw, frozenset({"engine"})),))
    with pytest.raises(statements.Untrusted, match="its key may not sign for the step export"):
        statements.read(team.envelope(made), made.lookup_key, "export", limited.remote)


@pytest.mark.parametrize("kept", [0, 1, 50, -1])
def test_a_truncated_entry(team: Team, kept: int) -> None:
    made = team.made()
    team.push(made, team.envelope(made)[:kept])
    refused(team, made, "it is no JSON")


@pytest.mark.parametrize("content", [b"[" * 200_000, b"9" * 10_000, b"\xff\xfe", b"{}", b"null", b'"text"'])
def test_something_that_is_no_entry(team: Team, content: bytes) -> None:
    made = team.made()
    team.push(made, content)
    refused(team, made, ": it is no ")


def test_an_oversized_entry_is_not_read_to_its_end(team: Team) -> None:
    made = team.made()
    team.push(made)
    os.truncate(team.root / team.name(made), statements.MOST_BYTES + 10)
    refused(team, made, f"it is larger than {statements.MOST_BYTES} bytes")


def test_more_entries_than_a_key_can_have(team: Team) -> None:
    made = team.made()
    folder = (team.root / team.name(made)).parent
    folder.mkdir(parents=True)
    for number in range(150):
        (folder / f"{number:064x}-{team.signer.keyid}.json").write_bytes(b"")
    refused(team, made, "there are more than 100 entries; the others were not looked at")


@pytest.mark.parametrize(
    "name", ["..json", "a.json", "%2e%2e%2fx", f"{'0' * 64}-{'0' * 16}.json.exe", "x\n::error::y"]
)
def test_names_that_are_not_ours(team: Team, name: str) -> None:
    made = team.made()
    folder = (team.root / team.name(made)).parent
    folder.mkdir(parents=True)
    (folder / name).write_bytes(team.envelope(made))
    refused(team, made, "it is not called as an entry is")
    assert "\n::error" not in said(team.reader()).replace("\n  ", " ")


# ---- signed by a trusted key, and still nothing that leads anywhere ----


def signed_with(team: Team, made: Made, **parts: Any) -> bytes:
    """What the trusted key says when its machine is taken over: the entry's JSON with other parts."""
    entry = {**made.entry.as_json(), **parts}

    class Other(Entry):
        def as_json(self) -> dict[str, Any]:
            return entry

    return statements.stated(made.lookup_key, Other(**made.entry.__dict__), "", team.signer, 0.0)


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a/b", "..", "", "a\0b", "x\n", "a" * 300])
def test_a_file_that_is_called_like_a_path(team: Team, name: str) -> None:
    made = team.made()
    files = {name: ["0" * 64, 4]}
    tree = {"digest": digest(files), "files": files}
    team.push(made, signed_with(team, made, tree=tree))
    refused(team, made, "its entry is malformed: not an entry")


def test_an_object_that_is_not_called_what_its_files_are(team: Team) -> None:
    made = team.made()
    tree = {**made.entry.as_json()["tree"], "digest": "sha256:" + "0" * 64}
    team.push(made, signed_with(team, made, tree=tree))
    refused(team, made, "its entry is malformed: its object is not called what its files are")


def test_facts_of_another_action_under_this_one(team: Team) -> None:
    made = team.made()
    facts = {**FACTS, "opset": 7}
    team.push(made, signed_with(team, made, facts=facts, key=full_key(facts, {})))
    refused(team, made, "its entry is malformed: it is of other facts")


def test_a_key_that_is_not_that_of_its_facts(team: Team) -> None:
    made = team.made()
    team.push(made, signed_with(team, made, key="sha256:" + "1" * 64))
    refused(team, made, "its entry is malformed: its key is not that of its facts")


# ---- files ----


def test_a_file_with_other_bytes_of_the_same_size(team: Team) -> None:
    made = team.made(b"the graph")
    team.push(made)
    blob(team, made).write_bytes(b"evil code")
    damaged(team, made, "its bytes are not those that its name says")


def test_a_truncated_file(team: Team) -> None:
    made = team.made(b"the graph")
    team.push(made)
    blob(team, made).write_bytes(b"the")
    damaged(team, made, "it has 3 bytes, not 9")


def test_an_oversized_file(team: Team) -> None:
    made = team.made(b"the graph")
    team.push(made)
    os.truncate(blob(team, made), 1 << 33)
    damaged(team, made, "it has more than its 9 bytes")


def test_a_file_that_is_gone(team: Team) -> None:
    made = team.made()
    team.push(made)
    blob(team, made).unlink()
    damaged(team, made, "it is not there")


def test_what_is_damaged_is_asked_for_once(team: Team) -> None:
    made = team.made()
    team.push(made)
    kept = blob(team, made).rename(team.folder / "kept")
    reader = team.reader()
    assert not reader.fetch(made.entry.tree)
    kept.rename(blob(team, made))
    assert not reader.fetch(made.entry.tree)
    assert team.reader("second").fetch(made.entry.tree)


# ---- links and other things in a folder ----


def test_a_link_in_the_place_of_a_file(team: Team) -> None:
    made = team.made()
    team.push(made)
    outside = team.folder / "outside"
    blob(team, made).rename(outside)  # the very bytes, behind a link
    blob(team, made).symlink_to(outside)
    damaged(team, made, "no plain file is there, and no link is followed")


def test_a_link_in_the_place_of_an_entry(team: Team) -> None:
    made = team.made()
    team.push(made)
    place = team.root / team.name(made)
    outside = place.rename(team.folder / "outside")
    place.symlink_to(outside)
    refused(team, made, "no plain file is there, and no link is followed")


@pytest.mark.parametrize("above", [0, 1, 2, 3])
def test_a_link_in_the_place_of_a_folder(team: Team, above: int) -> None:
    made = team.made()
    team.push(made)
    place = (team.root / team.name(made)).parents[above]
    outside = place.rename(team.folder / "outside")
    place.symlink_to(outside)
    reader = team.reader()
    assert reader.entries(made.lookup_key, "export") == []


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(team: Team) -> None:
    made = team.made()
    team.push(made)
    blob(team, made).unlink()
    os.mkfifo(blob(team, made))
    damaged(team, made, "no plain file is there")


def test_nothing_is_written_through_a_link(team: Team) -> None:
    made, outside = team.made(), team.folder / "outside"
    outside.mkdir()
    (team.root / "v1").symlink_to(outside)
    with pytest.raises(Exception, match="no link is followed"):
        team.bucket().create("v1/blobs/aa/x", b"x")
    assert list(outside.iterdir()) == []
    assert made.entry.tree.files == {"model.onnx": File(made.entry.tree.files["model.onnx"].sha256, 9)}


# ---- what a folder without trust says ----


def test_without_trust_a_folder_is_believed_and_says_so(team: Team) -> None:
    made = team.made()
    team.push(made)
    reader = team.reader(trust=())
    assert len(reader.entries(made.lookup_key, "export")) == 1
    assert [(d.code, d.level) for d in reader.said()] == [("remote-untrusted", "info")]
    assert "has no `trust`: whoever can write there is believed" in said(reader)


def test_what_is_signed_is_the_payload_and_its_type(team: Team) -> None:
    """DSSE: otherwise a signature over the same bytes of another kind would count here."""
    made = team.made()
    envelope = json.loads(team.envelope(made))
    payload = base64.b64decode(envelope["payload"])
    bare = base64.b64encode(team.signer.sign(payload)).decode()
    forged = changed(team.envelope(made), signatures=[{"keyid": team.signer.keyid, "sig": bare}])
    team.push(made, forged)
    refused(team, made, "its signature is not of what it says")
