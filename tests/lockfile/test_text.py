"""A lock file's text: for review, read back as it was, and every damage told with its place."""

from __future__ import annotations

import dataclasses

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.lockfile.naming import visible
from modelbuild.lockfile.reading import read
from modelbuild.lockfile.writing import render
from tests.lockfile.samples import FACTS, FP32, NET, TEXT, TOOLS, locked


def test_the_text_is_for_review_and_comes_back_as_it_was() -> None:
    lock = locked()
    text = render(lock)
    assert text.startswith(TEXT)
    assert [line.split(":")[:2] for line in text[len(TEXT) :].splitlines()] == [
        ["  net.py", " outline"],
        ["finds", ""],
        ["  absent net.json", " null"],
        ["  modules .", " net"],
    ]
    assert read(text, "net.lock.yaml") == lock
    assert render(read(text, "net.lock.yaml")) == text


def test_the_order_in_which_things_were_found_does_not_show() -> None:
    shuffled = locked(tools=dict(reversed(TOOLS.items())), facts=dict(reversed(FACTS.items())))
    assert render(shuffled) == render(locked())


@pytest.mark.parametrize(
    "odd",
    [
        "null",
        "1e5",
        "0x10",
        "on",
        "a: b",
        "- a",
        "*a",
        "#",
        "a #b",
        "{",
        'say "x"',
        "back\\slash",
        " lead",
        "",
        "line\nbreak",
        "tab\t",
        "\x7f\x85\u2028\ufeff",
        "\udcff",
        "naïve ☃ 語",
        "<<",
        "..",
        "---",
        "=",
        "?",
        "x" * 3000,
        '"' * 3000,
    ],
)
def test_any_name_and_any_setting_can_be_read_back(odd: str) -> None:
    lock = locked(
        facts={f"file {odd}": "sha256:1", f"env {odd}": odd, f"file d/{odd}.py": "sha256:2"},
        rows={NET: dataclasses.replace(FP32, tolerance=visible(odd))},
        outlines={},
    )
    assert read(render(lock).encode(), "x") == lock


GOOD = render(locked())


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        pytest.param("", "1:1", "the lock file is empty", id="empty"),
        pytest.param("lock: 2\n" + "#" * (1 << 20), "1:1", "a lock file is at most 1 MiB", id="huge"),
        pytest.param("[1, 2]", "1:1", "a lock file begins with `lock: 2`", id="list"),
        pytest.param(
            GOOD.replace("lock: 2", "", 1), "3:1", "a lock file begins with `lock: 2`", id="no-version"
        ),
        pytest.param(
            GOOD.replace("lock: 2", "lock: 3", 1),
            "2:7",
            "the lock file has version 3, and this modelbuild reads 2: it is too old",
            id="newer",
        ),
        pytest.param(
            GOOD.replace("lock: 2", "lock: 1", 1),
            "2:7",
            "the lock file has version 1, and this modelbuild reads 2",
            id="older",
        ),
        pytest.param(
            GOOD.replace("lock: 2", "lock: true", 1), "2:7", "`lock` must be 2, not `true`", id="odd-version"
        ),
        pytest.param(
            GOOD.replace("bytes: 819", "bytes: many"),
            "7:12",
            "`onnx.net.fp32.onnx.bytes`: input should be a valid integer, "
            "unable to parse string as an integer",
            id="wrong-type",
        ),
        pytest.param(
            GOOD.replace("    opset: 18\n", "", 1), "5:3", "missing `onnx.net.fp32.onnx.opset`", id="missing"
        ),
        pytest.param(
            GOOD.replace("    opset: 18\n", "    opset: 18\n    colour: red\n", 1),
            "9:5",
            "unknown key `onnx.net.fp32.onnx.colour`",
            id="unknown-key",
        ),
        pytest.param(
            GOOD.replace("headroom: 3750", "headroom: [1]"),
            "11:73",
            "`onnx.net.fp32.onnx.worst.headroom`: input should be a valid number",
            id="one-of-two-types",
        ),
        pytest.param(
            GOOD.replace("engines:", "<<<<<<< HEAD\nengines:"),
            "21:1",
            "an unresolved merge conflict",
            id="conflict",
        ),
        pytest.param(
            "<<<<<<< HEAD\n" + GOOD, "1:1", "an unresolved merge conflict", id="conflict-at-the-top"
        ),
        pytest.param(GOOD + "finds: again\n", "40:1", "duplicate key `finds`", id="twice"),
        pytest.param(
            "lock: 2\nrecipe: !!python/object/apply:os.system [x]\n",
            "2:9",
            "YAML tags are not supported: `!!python/object/apply:os.system`",
            id="code",
        ),
        pytest.param(
            "lock: {",
            "2:1",
            "not valid YAML: while parsing a flow node, did not find expected node content",
            id="syntax",
        ),
        pytest.param(b"lock: 2\nrecipe: \xff\n", "2:9", "not UTF-8 text", id="bytes"),
    ],
)
def test_a_damaged_file_is_told_with_its_place(text: str | bytes, where: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text, "configs/net.lock.yaml")
    (found,) = caught.value.diagnostics
    assert found.where == f"configs/net.lock.yaml:{where}"
    assert (found.code, found.message) == ("lock-invalid", message)
    assert found.hint is not None
    assert "`modelbuild build --lock`" in found.hint
