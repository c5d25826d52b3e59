"""Facts -> digest, and which facts moved between two digests.

Facts are flat: a name (``opset``, ``input model``, ``torch``) and a JSON value. They are stored
beside the digest, so that a key can always be read and two keys can always be compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

Facts = Mapping[str, Any]


def canonical(value: Any) -> str:
    """JSON with one spelling per value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """``sha256:…`` of any JSON value."""
    return digest_bytes(canonical(value).encode())


def full_key(known: Facts, discovered: Mapping[str, str | None]) -> str:
    """The key of a result: what was known before, and what the run read by itself."""
    return digest({"facts": known, "discovered": discovered})


def digest_bytes(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def moved(old: Facts, new: Facts) -> list[str]:
    """What changed, in words, in the order of the new facts: ``opset changed: 17 -> 18``."""
    said = []
    for name in [*new, *(n for n in old if n not in new)]:
        before, after = old.get(name), new.get(name)
        if name not in old:
            said.append(f"{name} is new")
        elif name not in new:
            said.append(f"{name} is gone")
        elif before != after:
            said.append(_change(name, before, after))
    return said


def _change(name: str, before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        inner = moved(before, after)
        return f"{name}: {inner[0]}" if inner else f"{name} changed"
    short = [_short(before), _short(after)]
    if max(map(len, short)) > 60 or any("sha256:" in s for s in short):
        return f"{name} changed"
    return f"{name} changed: {short[0]} -> {short[1]}"


def _short(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value)
