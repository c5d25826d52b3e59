"""What is printed fits the terminal that it is printed on."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.base.results import ArtifactResult
from modelbuild.wording import fitting, showing

LONG = "a-rather-long-name-of-a-model"
MEASURED = {
    "evidence": "fp16-simulated",
    "tolerance": "relative_l2 0.01",
    "shapes": [{"batch": 1}],
    "outputs": {
        "last_hidden_state": {
            "headroom": 15.87,
            "relative_l2": 6.3e-4,
            "judged": {"measure": "relative_l2", "value": 6.3e-4, "bound": 0.01},
        }
    },
}


def artifact(name: str, reason: str | None = None) -> ArtifactResult:
    whole = f"{LONG}.{name}"
    return ArtifactResult(
        whole, "onnx", "fp16", {}, "built", reason, bytes=102_000_000, seconds=4.2, parity=MEASURED
    )


ARTIFACTS = [
    artifact("fp16.onnx", "dynamic_axes.batch.max: 256 -> 64"),
    artifact("fp16.batch8-sequence128.onnx"),
]


@pytest.mark.parametrize("room", range(60, 201))
def test_a_table_is_no_wider_than_the_terminal(room: int) -> None:
    rows = showing.table(ARTIFACTS, room).split("\n")
    assert max(map(len, rows)) <= room
    assert all("built" in row for row in rows[2:]), "whatever the room, each says what became of it"


def test_names_lose_their_beginning_which_all_of_a_recipe_share() -> None:
    narrow = showing.table(ARTIFACTS, 60)
    assert "….fp16.onnx" in narrow or "model.fp16.onnx" in narrow
    assert "fp16.batch8-sequence128.onnx"[-20:] in narrow


def test_what_is_secondary_leaves_first_and_the_headroom_stays() -> None:
    heads = [showing.table(ARTIFACTS, room).split("\n")[0].split() for room in (60, 80, 120, 200)]
    assert heads[0] == ["artifact", "status", "size", "headroom"]
    assert heads[-1] == ["artifact", "status", "size", "time", "worst", "error", "headroom", "proof", "why"]
    assert all(set(less) <= set(more) for less, more in itertools.pairwise(heads))


def test_an_error_stands_beside_the_bound_that_it_was_held_against() -> None:
    assert "last_hidden_state: relative_l2 6.3e-04 of 0.01     x15.9" in showing.table(ARTIFACTS)
    said = showing.against({"measure": "rtol, atol", "value": 4.8e-7, "bound": 1.1e-4}, 1.0)
    assert said == "rtol, atol 4.8e-07 of 1.1e-04"
    assert (
        showing.against({"measure": "cosine", "value": 0.99993, "bound": 0.999}, 1.0)
        == "cosine 0.99993, least 0.999"
    )
    counted = {"measure": "mismatch", "value": 0.002, "bound": 0.01}
    assert showing.against(counted, 5.0) == "mismatch 0.002 of 0.01"
    assert showing.against(None, None) == "equal"
    assert showing.against(None, 0.0) == "not finite"
    assert showing.against(None, 16.8) == ""


def test_an_error_loses_the_name_of_its_output_before_a_letter_of_its_own() -> None:
    cell = "logits: rtol, atol 1.2e-07 of 1.3e-04"
    assert fitting.elided(cell, len(cell), tail=True) == cell
    for most in (29, 30, 36):
        assert fitting.elided(cell, most, tail=True) == "rtol, atol 1.2e-07 of 1.3e-04"
    assert fitting.elided(cell, 28, tail=True) == "…ol, atol 1.2e-07 of 1.3e-04"


def test_columns_in_which_nothing_stands_are_left_out() -> None:
    assert "why" not in showing.table(ARTIFACTS[1:]).split("\n")[0]


SENTENCE = "error[parity-failed]: net.fp16.onnx: output `logits` at batch=1: relative L2 0.0123, against 0.01"


def test_a_sentence_is_broken_between_words_and_set_in() -> None:
    assert fitting.fitted(SENTENCE, 60).split("\n") == [
        "error[parity-failed]: net.fp16.onnx: output `logits` at",
        "  batch=1: relative L2 0.0123, against 0.01",
    ]
    assert fitting.fitted(SENTENCE, None) == SENTENCE
    assert fitting.fitted(SENTENCE, 200) == SENTENCE


def test_a_path_stays_whole_so_that_it_can_be_clicked() -> None:
    path = "/" + "/".join(["a-folder-with-a-name"] * 6)
    assert path in fitting.fitted(f"log: {path} for all of it", 60)


@given(st.integers(40, 120), st.lists(st.text("abc ", max_size=90), max_size=5))
def test_no_word_is_lost_and_no_line_that_has_a_space_is_too_long(room: int, lines: list[str]) -> None:
    text = "\n".join(lines)
    fitted = fitting.fitted(text, room)
    assert fitted.split() == text.split()
    assert all(len(line) <= room or len(line.split()) < 2 for line in fitted.split("\n"))


@pytest.mark.parametrize("room", [60, 80, 100])
def test_of_a_long_line_of_source_the_marked_part_is_shown(room: int) -> None:
    source = "    2 | " + "x" * 90 + "wieghts: 3}"
    carets = "      | " + " " * 90 + "^" * 7
    line, below = fitting.fitted(f"{source}\n{carets}", room).split("\n")
    assert max(len(line), len(below)) <= room
    assert line.startswith("    2 | ")
    assert line[below.index("^") :].startswith("wieghts")


def test_the_width_is_that_of_columns_and_else_nobody_says_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LINES", raising=False)
    monkeypatch.setenv("COLUMNS", "72")
    assert fitting.width(io.StringIO()) == 72
    for said in ("", "wide", "0", "-3"):
        monkeypatch.setenv("COLUMNS", said)
        assert fitting.width(io.StringIO()) is None


def test_what_readline_leaves_in_the_environment_makes_no_terminal_of_a_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    assert fitting.width(io.StringIO()) is None
