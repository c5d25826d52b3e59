"""What is signed: an in-toto statement that an action has this result, in a DSSE envelope.

https://github.com/secure-systems-lab/dsse/blob/master/envelope.md and
https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from modelbuild.base import shapes
from modelbuild.base.keys import canonical
from modelbuild.base.shapes import record, rows, text
from modelbuild.remote import layout
from modelbuild.remote.configured import Remote
from modelbuild.remote.signing import Signer, key_id, public_text, verified
from modelbuild.store import Entry

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:modelbuild:action-result:v1"
MOST_BYTES = 1 << 26  # of an envelope

_ENVELOPE = record(
    {"payload": text, "payloadType": text, "signatures": rows(record({"keyid": text, "sig": text}))}
)
_STATEMENT = record(
    {
        "_type": text,
        "subject": rows(record({"name": text, "digest": record({"sha256": shapes.sha256})})),
        "predicateType": text,
        "predicate": record({"entry": shapes.anything, "toolchain": shapes.mapping(text), "built": text}),
    }
)


class Untrusted(Exception):
    """An entry of a remote that is not used, and why."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Signed:
    """An entry, the public key that signed it, and when (ISO 8601)."""

    entry: Entry
    by: str
    when: str


def stated(lookup_key: str, entry: Entry, salt: str, signer: Signer, when: float) -> bytes:
    """The envelope that says, signed, that what has these facts gave this; ``when`` in seconds since 1970."""
    statement = {
        "_type": STATEMENT,
        "subject": [
            {"name": str(entry_step(entry.facts)), "digest": {"sha256": layout.salted(lookup_key, salt)}}
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "entry": entry.as_json(),
            "toolchain": {"python": platform.python_version(), "modelbuild": metadata.version("modelbuild")},
            "built": datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds"),
        },
    }
    payload = canonical(statement).encode()
    signature = signer.sign(pre_authentication(PAYLOAD_TYPE, payload))
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": signer.keyid, "sig": base64.b64encode(signature).decode("ascii")}],
    }
    return canonical(envelope).encode()


def read(envelope: bytes, lookup_key: str, step: str, remote: Remote) -> Signed:
    """The entry in an envelope, if somebody whom this remote's reader trusts has signed it for this key.

    Raises:
        Untrusted: it is not to be used.
    """
    payload, signatures = _opened(envelope)
    by = _signer(payload, signatures, step, remote)
    statement = _statement(payload)
    (subject,) = statement["subject"]
    if subject["digest"]["sha256"] != layout.salted(lookup_key, remote.salt):
        raise Untrusted("it is signed for another key, or another salt")
    if subject["name"] != step:
        raise Untrusted(f"it is signed for another step, {subject['name']}")
    predicate = statement["predicate"]
    return Signed(_entry(predicate["entry"], lookup_key), by, predicate["built"])


def claimed(envelope: bytes) -> Entry:
    """The entry in an envelope, whoever signed it: for an owner, who counts what it names.

    Raises:
        Untrusted: there is none in it.
    """
    return _entry(_statement(_opened(envelope)[0])["predicate"]["entry"], None)


def pre_authentication(kind: str, payload: bytes) -> bytes:
    """What is signed of a payload: DSSE's PAE, so that a signature is of this kind of payload alone."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def entry_step(facts: Mapping[str, Any]) -> Any:
    """The step that facts are of; what was measured has its facts one level down."""
    inner = facts.get("record")
    return (inner if isinstance(inner, dict) else facts).get("step", "")


def _opened(envelope: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    if len(envelope) > MOST_BYTES:
        raise Untrusted(f"it is larger than {MOST_BYTES >> 20} MiB")
    data = _json(envelope)
    if not _ENVELOPE(data) or data["payloadType"] != PAYLOAD_TYPE:
        raise Untrusted("it is no signed statement")
    try:
        payload = base64.b64decode(data["payload"], validate=True)
        signatures = [
            (row["keyid"], base64.b64decode(row["sig"], validate=True)) for row in data["signatures"]
        ]
    except ValueError:
        raise Untrusted("it is no signed statement: what it holds is not base64") from None
    return payload, signatures


def _signer(payload: bytes, signatures: list[tuple[str, bytes]], step: str, remote: Remote) -> str:
    """The public key of who signed it and may.

    Raises:
        Untrusted: nobody did.
    """
    if not remote.trust:  # a folder that nobody else writes
        return signatures[0][0] if signatures else "nobody"
    if not signatures:
        raise Untrusted("nobody has signed it")
    message = pre_authentication(PAYLOAD_TYPE, payload)
    trusted = {key_id(t.key): t for t in remote.trust}
    known = [(trusted[keyid], sig) for keyid, sig in signatures[:8] if keyid in trusted]
    if not known:
        raise Untrusted(f"it is signed by a key that is not in `trust`: {signatures[0][0][:16]}")
    for trust, signature in known:
        if verified(trust.key, message, signature):
            if trust.steps is not None and step not in trust.steps:
                raise Untrusted(f"its key may not sign for the step {step}")
            return public_text(trust.key)
    raise Untrusted("its signature is not of what it says")


def _statement(payload: bytes) -> Any:
    data = _json(payload)
    if not _STATEMENT(data) or data["_type"] != STATEMENT or data["predicateType"] != PREDICATE:
        raise Untrusted("what is signed is not the result of an action")
    if len(data["subject"]) != 1:
        raise Untrusted("what is signed is about several actions")
    return data


def _entry(data: Any, lookup_key: str | None) -> Entry:
    try:
        return Entry.from_json(data, lookup_key)
    except ValueError as error:
        raise Untrusted(f"its entry is malformed: {error}") from None


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Untrusted("it is no JSON") from None
