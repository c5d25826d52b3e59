"""Ed25519: keys as text, signatures over bytes."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Any

_PREFIX = "ed25519:"
_RAW = 32  # bytes of a public key
_MOST_BYTES = 1 << 14  # of a file with a key: one has 119


def generate() -> tuple[str, str]:
    """A new pair: the public key as ``ed25519:BASE64``, the secret one as PKCS8 PEM."""
    from cryptography.hazmat.primitives import serialization as ser
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
    return public_text(key.public_key().public_bytes_raw()), pem.decode("ascii")


def public_text(raw: bytes) -> str:
    """A public key as people write it."""
    return _PREFIX + base64.b64encode(raw).decode("ascii")


def public_key(text: str) -> bytes:
    """The 32 bytes of a public key.

    Raises:
        ValueError: it is none.
    """
    if not text.startswith(_PREFIX):
        raise ValueError("it does not begin with `ed25519:`")
    try:
        raw = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise ValueError("what comes after `ed25519:` is not base64") from None
    if len(raw) != _RAW:
        raise ValueError(f"it has {len(raw)} bytes, and a public key has {_RAW}")
    return raw


def key_id(raw: bytes) -> str:
    """What a public key is called in names: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(raw).hexdigest()[:16]


@dataclass(frozen=True)
class Signer:
    """A secret key; ``raw`` are the bytes of its public one."""

    raw: bytes
    _secret: Any

    @classmethod
    def read(cls, text_or_path: str) -> Signer:
        """The key in a PEM, or in the file of this name.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no Ed25519 key, or has a password.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        pem = text_or_path if "-----BEGIN" in text_or_path else _content(text_or_path)
        try:
            key = load_pem_private_key(pem.strip().encode(), password=None)
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError("it has a password, or is of another kind") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("it is a key of another kind than Ed25519")
        return cls(key.public_key().public_bytes_raw(), key)

    @property
    def public(self) -> str:
        return public_text(self.raw)

    @property
    def keyid(self) -> str:
        return key_id(self.raw)

    def sign(self, message: bytes) -> bytes:
        signature: bytes = self._secret.sign(message)
        return signature

    def __repr__(self) -> str:
        return f"Signer({self.public})"  # a traceback shows no secret


def verified(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this signature is of this message, by who has the secret half of this key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _content(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no file")
        return file.read(_MOST_BYTES).decode("ascii", errors="replace")
