"""YAML text -> plain data and places; what a stranger's file must not be able to do."""

from __future__ import annotations

import math
import time

import pytest
import yaml

from modelbuild.base.scalars import meaning
from modelbuild.recipe import reading
from modelbuild.recipe.problems import Mark
from modelbuild.recipe.reading import read


@pytest.fixture(params=["libyaml", "pure Python"])
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure Python":
        monkeypatch.setattr(reading, "_LOADER", yaml.SafeLoader)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("PyYAML without libyaml")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        pytest.param("1e-3", 0.001, id="float-without-a-dot"),
        pytest.param("1.0e-3", 0.001, id="float-with-an-unsigned-exponent"),
        pytest.param("1E+2", 100.0, id="capital-exponent"),
        pytest.param(".5", 0.5, id="float-without-a-zero"),
        pytest.param("5.", 5.0, id="float-without-decimals"),
        pytest.param("-.inf", -math.inf, id="negative-infinity"),
        pytest.param("0", 0, id="zero"),
        pytest.param("-17", -17, id="negative"),
        pytest.param("+3", 3, id="plus"),
        pytest.param("010", 10, id="no-octal-by-a-leading-zero"),
        pytest.param("0o10", 8, id="octal"),
        pytest.param("0xfF", 255, id="hex"),
        pytest.param("1_000", "1_000", id="no-underscores"),
        pytest.param("1:30", "1:30", id="no-sexagesimal"),
        pytest.param("2001-01-01", "2001-01-01", id="no-dates"),
        pytest.param("true", True, id="true"),
        pytest.param("FALSE", False, id="false"),
        pytest.param("yes", "yes", id="yes-is-text"),
        pytest.param("on", "on", id="on-is-text"),
        pytest.param("y", "y", id="y-is-text"),
        pytest.param("null", None, id="null"),
        pytest.param("~", None, id="tilde"),
        pytest.param("", None, id="empty"),
        pytest.param("1e", "1e", id="unfinished-float-is-text"),
        pytest.param("e3", "e3", id="exponent-alone-is-text"),
        pytest.param(".", ".", id="dot-is-text"),
    ],
)
def test_an_unquoted_word_means_what_yaml_1_2_says(word: str, value: object) -> None:
    assert meaning(word) == value
    assert type(meaning(word)) is type(value)


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(meaning(".nan"))  # type: ignore[arg-type]


@pytest.mark.usefixtures("either_parser")
def test_quoted_words_are_text() -> None:
    found = read("""{a: "1", b: 'true', c: "1e-3", d: ""}""")
    assert found.root is not None
    assert found.root.data == {"a": "1", "b": "true", "c": "1e-3", "d": ""}


@pytest.mark.usefixtures("either_parser")
def test_every_key_and_value_has_its_place() -> None:
    text = "# é ✓\nmodel: {import: 'a:b'}\ninputs:\n  x:\n    shape: [batch, 3]\nstatic:\n  - batch: 1\n"
    found = read(text)
    assert found.mark(("model",)) == Mark(1, 7, 1, 22)
    assert found.mark(("model",), on_key=True) == Mark(1, 0, 1, 5)
    assert found.mark(("model", "import")) == Mark(1, 16, 1, 21)
    assert found.mark(("inputs", "x")) == Mark(3, 2, 3, 3), "a block is shown by its key"
    assert found.mark(("inputs", "x", "shape", 1)) == Mark(4, 19, 4, 20)
    assert found.mark(("inputs", "x", "dtype")) == found.mark(("inputs", "x")), "missing: its parent"
    assert found.mark(("static", 0, "batch"), on_key=True) == Mark(6, 4, 6, 9)


@pytest.mark.usefixtures("either_parser")
def test_columns_count_characters_and_lines_end_in_any_way() -> None:
    found = read("a: 'éé✓'\r\nb: {c: é, d: 1}\r\n")
    assert found.mark(("b", "d")) == Mark(1, 13, 1, 14)
    assert found.lines[1] == "b: {c: é, d: 1}"


@pytest.mark.usefixtures("either_parser")
def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    found = read("\ufeffa: 1\n".encode())
    assert found.root is not None
    assert found.root.data == {"a": 1}
    assert found.mark(("a",), on_key=True) == Mark(0, 0, 0, 1)


@pytest.mark.usefixtures("either_parser")
def test_an_alias_is_its_anchor_again_and_shows_its_place() -> None:
    found = read("a: &x {min: 1}\nb: *x\nc: *x\n")
    assert found.problems == ()
    assert found.root is not None
    assert found.root.data == {"a": {"min": 1}, "b": {"min": 1}, "c": {"min": 1}}
    assert found.mark(("b", "min")) == Mark(0, 12, 0, 13)


@pytest.mark.usefixtures("either_parser")
def test_an_anchor_given_again_is_the_later_one() -> None:
    found = read("a: &x 1\nb: &x 2\nc: *x\n")
    assert found.root is not None
    assert found.root.data["c"] == 2


BOMB = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
DEEP_BY_ALIAS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [[[[[*a{i - 1}]]]]]\n" for i in range(1, 12))


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(BOMB, "aliases stand for more than 10000 values", id="alias-bomb"),
        pytest.param(DEEP_BY_ALIAS, "nested more than 50 levels deep", id="deep-by-aliases"),
        pytest.param("a: &a [*a]", "the alias `*a` stands inside its own anchor", id="alias-in-itself"),
        pytest.param("a: &a {b: {c: *a}}", "the alias `*a` stands inside its own anchor", id="deeper"),
        pytest.param("a: *b", "the alias `*b` has no anchor `&b` before it", id="alias-of-nothing"),
        pytest.param("[" * 100_000, "nested more than 50 levels deep", id="deep-lists"),
        pytest.param("{a: " * 100_000, "nested more than 50 levels deep", id="deep-mappings"),
        pytest.param(
            "\n".join(" " * i + "a:" for i in range(60)),
            "nested more than 50 levels deep",
            id="deep-blocks",
        ),
        pytest.param("a: " + "x" * (1 << 20), "a recipe is at most 1 MiB", id="too-large"),
        pytest.param("a: \x00", "a recipe cannot hold the character U+0000", id="nul"),
        pytest.param("a: \x1b[31m", "a recipe cannot hold the character U+001B", id="terminal-escape"),
        pytest.param("a: \ud800", "a recipe cannot hold the character U+D800", id="lone-surrogate"),
        pytest.param('a: "\\0"', "text cannot hold the character U+0000", id="escaped-nul"),
        pytest.param(b"a: \xff", "not UTF-8 text", id="latin-1"),
        pytest.param("a: b\n".encode("utf-16"), "not UTF-8 text", id="utf-16"),
        pytest.param("a: 1\n---\nb: 2\n", "a file holds one recipe, but here a second one begins", id="two"),
        pytest.param("", "the recipe is empty", id="empty"),
        pytest.param("# only this\n", "the recipe is empty", id="only-a-comment"),
        pytest.param("a: !!int 3", "YAML tags are not supported: `!!int`", id="tag-of-yaml"),
        pytest.param("a: ! 3", "YAML tags are not supported: `!`", id="tag-without-a-name"),
        pytest.param("a: !mine {b: 1}", "YAML tags are not supported: `!mine`", id="tag-of-ones-own"),
        pytest.param(
            "a: !!python/object/apply:os.system ['touch pwned']",
            "YAML tags are not supported: `!!python/object/apply:os.system`",
            id="tag-that-runs-code",
        ),
        pytest.param("a: 1\na: 2", "duplicate key `a`", id="duplicate-key"),
        pytest.param("a: {b: 1, 'b': 2}", "duplicate key `b`", id="duplicate-key-in-other-quotes"),
        pytest.param("a: {1: x}", "a key must be text, not `1`", id="key-number"),
        pytest.param("true: 1", "a key must be text, not `true`", id="key-true"),
        pytest.param("1.5: 1", "a key must be text, not `1.5`", id="key-float"),
        pytest.param("? [a, b]\n: 1", "a key must be text, not a list", id="key-list"),
        pytest.param("? {a: b}\n: 1", "a key must be text, not a mapping", id="key-mapping"),
        pytest.param("null: 1", "a key must be text, not nothing", id="key-null"),
        pytest.param("<<: {a: 1}", "merge keys (`<<`) are not supported", id="merge-key"),
        pytest.param("a: " + "9" * 5000, "a number of 5000 characters", id="number-too-long"),
    ],
)
def test_what_yaml_allows_and_a_recipe_does_not(text: str | bytes, message: str) -> None:
    began = time.perf_counter()
    found = read(text)
    assert [problem.message for problem in found.problems] == [message]
    assert found.problems[0].hint
    assert time.perf_counter() - began < 5


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        pytest.param("a: {b: 1", (0, 8), None, id="open-bracket"),
        pytest.param("a: 'b", (0, 5), None, id="open-quote"),
        pytest.param("a: b: c", (0, 4), "quote text that holds `: `", id="two-colons"),
        pytest.param("a:\n\tb: 1", (1, 0), "indent with spaces, not tabs", id="tab"),
        pytest.param("a: *.npz", (0, 4), "quote text that starts with `*`", id="glob"),
        pytest.param("a: @b", (0, 3), "quote text that starts with `@`", id="at-sign"),
    ],
)
def test_text_that_is_no_yaml_is_told_with_its_place(
    text: str, place: tuple[int, int], hint: str | None
) -> None:
    (problem,) = read(text).problems
    assert problem.message.startswith("not valid YAML: ")
    assert problem.mark is not None
    assert (problem.mark.line, problem.mark.column) == place or hint is None
    assert (hint or "look for a bracket or a quote") in problem.hint


def test_several_mistakes_of_form_are_told_at_once() -> None:
    found = read("a: !x 1\na: 2\ntrue: 3\nb: {c: 1, c: 2}\n")
    assert [(p.message, p.mark.line if p.mark else None) for p in found.problems] == [
        ("YAML tags are not supported: `!x`", 0),
        ("duplicate key `a`", 1),
        ("a key must be text, not `true`", 2),
        ("duplicate key `c`", 3),
    ]
