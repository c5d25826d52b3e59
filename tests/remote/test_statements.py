"""What is signed, and that others' tools can verify it."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from modelbuild.remote import signing, statements
from modelbuild.remote.signing import Signer
from tests.remote.team import FACTS, Team


def test_openssl_alone_verifies_an_entry(team: Team, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    envelope = json.loads(team.envelope(team.made()))
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    (tmp_path / "message").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    raw = base64.b64decode(team.signer.public.removeprefix("ed25519:"))
    # The DER of such a key is these twelve bytes and the raw key (RFC 8410).
    (tmp_path / "key.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + raw)

    def verified() -> bool:
        said = (
            "openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey key.der -in message -sigfile signature"
        )
        command = said.split()
        return subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0

    assert verified()
    (tmp_path / "message").write_bytes((tmp_path / "message").read_bytes() + b" ")
    assert not verified()


def test_the_statement_is_intoto_about_the_action_with_its_outputs_facts_and_toolchain(team: Team) -> None:
    made = team.made()
    statement = json.loads(base64.b64decode(json.loads(team.envelope(made))["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "urn:modelbuild:action-result:v1"
    assert statement["subject"] == [{"name": "export", "digest": {"sha256": made.lookup_key[7:]}}]
    predicate = statement["predicate"]
    assert predicate["entry"]["facts"] == FACTS
    assert list(predicate["entry"]["tree"]["files"]) == ["model.onnx"]
    assert predicate["toolchain"].keys() == {"python", "modelbuild"}


def test_a_statement_says_who_signed_and_when(team: Team) -> None:
    made = team.made()
    envelope = statements.stated(made.lookup_key, made.entry, "", team.signer, 0.0)
    signed = statements.read(envelope, made.lookup_key, "export", team.remote)
    assert (signed.by, signed.when) == (team.signer.public, "1970-01-01T00:00:00+00:00")


def test_with_a_salt_the_key_itself_is_not_named_where_entries_lie(team: Team) -> None:
    made = team.made()
    salted = Team(team.folder, team.url, "words", team.signer)
    assert made.lookup_key[7:] in team.name(made)
    assert made.lookup_key[7:] not in salted.name(made)


def test_a_key_is_read_from_its_file_or_its_text(tmp_path: Path) -> None:
    public, secret = signing.generate()
    (tmp_path / "key.pem").write_text(secret)
    for said in (secret, str(tmp_path / "key.pem")):
        signer = Signer.read(said)
        assert signer.public == public
        assert signing.verified(signing.public_key(public), b"words", signer.sign(b"words"))
        assert not signing.verified(signing.public_key(public), b"other", signer.sign(b"words"))


def test_no_secret_is_in_what_a_traceback_shows() -> None:
    public, secret = signing.generate()
    assert repr(Signer.read(secret)) == f"Signer({public})"


@pytest.mark.parametrize(
    ("text", "words"),
    [("rsa:AAAA", "it does not begin with `ed25519:`"),
     ("ed25519:%%", "what comes after `ed25519:` is not base64"),
     ("ed25519:AAAA", "it has 3 bytes, and a public key has 32")],
)  # fmt: skip
def test_what_is_no_public_key(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        signing.public_key(text)


def test_what_is_no_secret_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - cryptography's own words
        Signer.read("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(FileNotFoundError):
        Signer.read(str(tmp_path / "nowhere"))
