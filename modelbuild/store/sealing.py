"""JSON that knows whether it is whole: a flipped bit must not be shown as something measured."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from modelbuild.base.keys import canonical

# {"sha256":"<64 hex>","content":…} with the digest of the content's bytes: plain JSON to others,
# and read here without writing the content out again to compare.
_BEFORE, _BETWEEN, _AFTER = b'{"sha256":"', b'","content":', b"}\n"
_CONTENT = len(_BEFORE) + 64 + len(_BETWEEN)


def seal(content: Any) -> str:
    """The text of a file that holds ``content``, a JSON value, and its digest."""
    return _sealed(canonical(content).encode()).decode()


def unseal(data: bytes) -> Any:
    """What was sealed.

    Raises:
        ValueError: something else was written, or not all of it, or it has changed since.
    """
    content = data[_CONTENT : -len(_AFTER)]
    if _sealed(content) != data:
        raise ValueError("the content is not what its digest says")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("the content has no end of brackets") from None


def _sealed(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest().encode()
    return b"".join([_BEFORE, digest, _BETWEEN, content, _AFTER])
