"""Hit or miss, and the reason that is told."""

from __future__ import annotations

from typing import Any

import pytest

from modelbuild.freshness import judge
from modelbuild.keys import digest, moved
from modelbuild.store import Entry, Tree

KNOWN = {"opset": 18, "torch": "2.13.0", "input model": "sha256:a"}
FILES = {"file net.py": "sha256:1", "package transformers": "5.0"}


def _judge(
    *, known: dict[str, Any] = KNOWN, now: dict[str, str | None] = FILES, entries: int = 1,
    usable: bool = True, last: dict[str, Any] | None = None,
):  # type: ignore[no-untyped-def]  # fmt: skip
    entry = Entry("k", Tree("sha256:t", {}), KNOWN, FILES)
    stored = [entry] * entries if known == KNOWN else []
    remembered = {"facts": KNOWN, "discovered": FILES} if last is None else last
    return judge(known, stored, lambda _: usable, lambda name, _: now.get(name), remembered)


def test_the_same_facts_and_files_are_a_hit() -> None:
    assert _judge().entry is not None
    assert _judge().reason is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param({"entries": 0, "last": {}}, "never built", id="never"),
        pytest.param({"known": {**KNOWN, "opset": 17}}, "opset changed: 18 -> 17", id="knob"),
        pytest.param({"known": {**KNOWN, "torch": "2.14.0"}}, "torch changed: 2.13.0 -> 2.14.0", id="tool"),
        pytest.param({"known": {**KNOWN, "input model": "sha256:b"}}, "input model changed", id="input"),
        pytest.param({"now": {**FILES, "file net.py": "sha256:2"}}, "net.py changed", id="source"),
        pytest.param({"now": {**FILES, "file net.py": None}}, "net.py is gone", id="source-gone"),
        pytest.param(
            {"now": {**FILES, "package transformers": "5.1"}}, "transformers 5.0 -> 5.1", id="package"
        ),
        pytest.param({"usable": False}, "its stored result is gone", id="object-gone"),
        pytest.param({"entries": 0}, "its stored result is gone", id="ledger-gone"),
    ],
)
def test_a_miss_has_a_reason_it_can_name(given: dict[str, Any], reason: str) -> None:
    verdict = _judge(**given)
    assert verdict.entry is None
    assert verdict.reason == reason


def test_a_knob_turned_back_finds_the_older_entry() -> None:
    last = {"facts": {**KNOWN, "opset": 17}, "discovered": FILES}
    assert _judge(last=last).entry is not None


def test_digests_do_not_depend_on_the_order_of_names() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_what_moved_inside_a_fact_is_named() -> None:
    old, new = {"source": {"seed": 0, "import_": "m:A"}}, {"source": {"seed": 1, "import_": "m:A"}}
    assert moved(old, new) == ["source: seed changed: 0 -> 1"]
    assert moved({"a": 1}, {"b": 1}) == ["b is new", "a is gone"]
