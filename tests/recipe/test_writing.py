"""The list of kept nodes goes into a recipe's text, and nothing else in it changes."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from modelbuild.base.scalars import quoted
from modelbuild.recipe import writing
from modelbuild.recipe.writing import with_node_block_list
from tests.recipe.writing import AB, LONG, listed, refused

# ---- before and after ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "precision:\n  fp32:\n  fp16:\n    method: auto\nstatic:\n  - {batch: 1}\n",
            "precision:\n  fp32:\n  fp16:\n    method: auto\n"
            "    node_block_list:\n      - /a/MatMul\n      - b\n"
            "static:\n  - {batch: 1}\n",
            id="a-block-gets-it-behind-its-last-key",
        ),
        pytest.param(
            "precision:\n  fp16:\n    method: auto",
            "precision:\n  fp16:\n    method: auto\n    node_block_list:\n      - /a/MatMul\n      - b",
            id="a-missing-final-newline-stays-missing",
        ),
        pytest.param(
            "outputs:\n- y\nprecision:\n    fp16:\n        method: auto\n",
            "outputs:\n- y\nprecision:\n    fp16:\n        method: auto\n"
            "        node_block_list:\n        - /a/MatMul\n        - b\n",
            id="it-is-indented-as-the-rest-of-the-file",
        ),
        pytest.param(
            "precision:\n    fp16:\n        method: auto\n",
            "precision:\n    fp16:\n        method: auto\n"
            "        node_block_list:\n            - /a/MatMul\n            - b\n",
            id="without-another-list-the-levels-say-how-deep",
        ),
        pytest.param(
            "precision:\n  fp16:\n    tolerance:\n      rtol: 1  # one\n      # still of rtol\n"
            "    # of tolerance\n\n    # apart\n  # of bf16\n  bf16:\n",
            "precision:\n  fp16:\n    tolerance:\n      rtol: 1  # one\n      # still of rtol\n"
            "    # of tolerance\n    node_block_list:\n      - /a/MatMul\n      - b\n"
            "\n    # apart\n  # of bf16\n  bf16:\n",
            id="comments-stay-with-what-they-are-about",
        ),
        pytest.param(
            "\ufeffprecision:\r\n  fp16:\r\n    method: auto\r\n",
            "\ufeffprecision:\r\n  fp16:\r\n    method: auto\r\n"
            "    node_block_list:\r\n      - /a/MatMul\r\n      - b\r\n",
            id="line-endings-and-a-byte-order-mark-stay",
        ),
        pytest.param(
            "precision:\n  fp16:\n    method: |-\n      auto\n\nopset: 18\n",
            "precision:\n  fp16:\n    method: |-\n      auto\n\n"
            "    node_block_list:\n      - /a/MatMul\n      - b\nopset: 18\n",
            id="behind-a-block-of-text",
        ),
        pytest.param(
            "precision:\n  fp32: &t {rtol: 1}\n  fp16:\n    tolerance: *t  # shared\n",
            "precision:\n  fp32: &t {rtol: 1}\n  fp16:\n    tolerance: *t  # shared\n"
            "    node_block_list:\n      - /a/MatMul\n      - b\n",
            id="behind-an-alias",
        ),
        pytest.param(
            "\"precision\":\n  'fp16':\n    \"method\": 'auto'\n",
            "\"precision\":\n  'fp16':\n    \"method\": 'auto'\n"
            "    node_block_list:\n      - /a/MatMul\n      - b\n",
            id="keys-may-be-quoted",
        ),
        pytest.param(
            "? precision\n: ? fp16\n  : method: auto\n",
            "? precision\n: ? fp16\n  : method: auto\n"
            "    node_block_list:\n      - /a/MatMul\n      - b\n",
            id="keys-may-be-marked",
        ),
        *(
            pytest.param(
                f"precision:\n  fp16:{nothing}  # why\n    # method: auto\n  # of bf16\n  bf16:\n",
                "precision:\n  fp16:  # why\n    # method: auto\n"
                "    node_block_list:\n      - /a/MatMul\n      - b\n  # of bf16\n  bf16:\n",
                id=f"nothing-written-{name}",
            )
            for name, nothing in {"not": "", "null": " null", "tilde": " ~", "braces": " { }"}.items()
        ),
        pytest.param(
            "precision:\n  fp16:\n    null\n",
            "precision:\n  fp16:\n    {node_block_list: [/a/MatMul, b]}\n",
            id="nothing-written-below-its-key",
        ),
        pytest.param(
            "precision:\n  fp16: {method: auto, tolerance: {atol: 0}} # x\n",
            "precision:\n  fp16: {method: auto, tolerance: {atol: 0}, node_block_list: [/a/MatMul, b]} # x\n",
            id="braces-get-it-before-they-close",
        ),
        pytest.param(
            "precision:\n  fp16: { method: auto, }\n",
            "precision:\n  fp16: { method: auto, node_block_list: [/a/MatMul, b], }\n",
            id="a-comma-before-the-brace-stays",
        ),
        pytest.param(
            "precision:\n  fp16: {\n    method: auto,  # road\n    tolerance: {rtol: 1}  # wide, very\n  }\n",
            "precision:\n  fp16: {\n    method: auto,  # road\n    tolerance: {rtol: 1},  # wide, very\n"
            "    node_block_list: [/a/MatMul, b]\n  }\n",
            id="braces-of-a-line-per-key-get-another-line",
        ),
        pytest.param(
            "precision:\n  fp16: {\n    method: auto,\n    tolerance: {rtol: 1},  # wide, very\n  }\n",
            "precision:\n  fp16: {\n    method: auto,\n    tolerance: {rtol: 1},  # wide, very\n"
            "    node_block_list: [/a/MatMul, b],\n  }\n",
            id="with-a-comma-behind-each",
        ),
        pytest.param(
            "precision:\n  fp16: {\n      method: auto\n    , tolerance: {rtol: 1}  # wide\n    }\n",
            "precision:\n  fp16: {\n      method: auto\n    , tolerance: {rtol: 1},  # wide\n"
            "      node_block_list: [/a/MatMul, b]\n    }\n",
            id="with-a-comma-before-each",
        ),
        pytest.param(
            "precision: {fp32: {}, fp16: {method: auto}}\n",
            "precision: {fp32: {}, fp16: {method: auto, node_block_list: [/a/MatMul, b]}}\n",
            id="braces-in-braces",
        ),
        *(
            pytest.param(
                f"precision: {{{empty}, bf16: null}}\n",
                "precision: {fp16: {node_block_list: [/a/MatMul, b]}, bf16: null}\n",
                id=f"nothing-in-braces-{name}",
            )
            for name, empty in {
                "bare": "fp16", "colon": "fp16: ", "null": "fp16: null", "braces": "fp16: {}",
            }.items()
        ),
        pytest.param(
            "precision:\n  fp16:\n    node_block_list: [old]  # why\n    method: auto\n",
            "precision:\n  fp16:\n    node_block_list: [/a/MatMul, b]  # why\n    method: auto\n",
            id="a-list-in-brackets-is-replaced",
        ),
        pytest.param(
            "precision:\n  fp16:\n    node_block_list: [\n      old,  # slow\n      c]\n    method: auto\n",
            "precision:\n  fp16:\n    node_block_list: [\n      /a/MatMul,\n      b]\n    method: auto\n",
            id="brackets-of-a-line-per-node-keep-their-lines",
        ),
        pytest.param(
            "precision:\n  fp16:\n    node_block_list: []  # none yet\n    method: auto\n",
            "precision:\n  fp16:\n    node_block_list:  # none yet\n      - /a/MatMul\n      - b\n"
            "    method: auto\n",
            id="an-empty-list-gets-a-line-per-node",
        ),
        pytest.param(
            "precision:\n  fp16:\n    node_block_list:\n    method: auto\n",
            "precision:\n  fp16:\n    node_block_list:\n      - /a/MatMul\n      - b\n    method: auto\n",
            id="a-key-without-a-list-gets-one",
        ),
        pytest.param(
            "precision:\n  fp16: {node_block_list: [old], method: auto}\n",
            "precision:\n  fp16: {node_block_list: [/a/MatMul, b], method: auto}\n",
            id="a-list-in-braces-is-replaced",
        ),
        pytest.param(
            "precision:\n  fp16:\n    node_block_list:  # why\n    # two\n    - old  # slow\n"
            "    - 'older'  # slower\n    # of method\n    method: auto\n",
            "precision:\n  fp16:\n    node_block_list:  # why\n    # two\n    - /a/MatMul\n    - b\n"
            "    # of method\n    method: auto\n",
            id="a-list-with-dashes-is-replaced",
        ),
        pytest.param(
            "precision:\n  fp16:\n    node_block_list:\n      - |-\n        old\n    method: auto\n",
            "precision:\n  fp16:\n    node_block_list:\n      - /a/MatMul\n      - b\n    method: auto\n",
            id="a-list-that-ends-in-a-block-of-text-is-replaced",
        ),
    ],
)  # fmt: skip
def test_the_list_is_written_and_all_else_stays(before: str, after: str) -> None:
    assert with_node_block_list(before, "fp16", AB) == after
    assert listed(after.removeprefix("\ufeff")) == list(AB)


def test_only_the_precision_that_is_named_is_changed() -> None:
    before = "precision:\n  bf16: {method: auto}\n  fp16: {method: auto}\n"
    after = "precision:\n  bf16: {method: auto, node_block_list: [b]}\n  fp16: {method: auto}\n"
    assert with_node_block_list(before, "bf16", ["b"]) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "precision:\n  fp16: {method: auto, tolerance: {relative_l2: 1.0e-2}}  # why\n",
            "precision:\n  fp16: {method: auto, tolerance: {relative_l2: 1.0e-2},\n"
            "    node_block_list: [\n      NODES]}  # why\n",
            id="braces-are-broken-behind-what-is-there",
        ),
        pytest.param(
            "precision: {fp32: null, fp16: null}\n",
            "precision: {fp32: null, fp16: {\n  node_block_list: [\n    NODES]}}\n",
            id="new-braces-are-broken-where-they-open",
        ),
        pytest.param(
            "precision:\n  fp16:\n    node_block_list: [a]\n",
            "precision:\n  fp16:\n    node_block_list: [\n      NODES]\n",
            id="brackets-are-broken-where-they-open",
        ),
        pytest.param(
            "precision:\n  fp16: {\n    method: auto\n  }\n",
            "precision:\n  fp16: {\n    method: auto,\n    node_block_list: [\n      NODES]\n  }\n",
            id="a-line-of-its-own-is-broken-too",
        ),
    ],
)
def test_a_line_that_would_be_too_long_is_broken_by_node(before: str, after: str) -> None:
    depth = after.partition("NODES")[0].rpartition("\n")[2]
    expected = after.replace("NODES", f",\n{depth}".join(LONG))

    edited = with_node_block_list(before, "fp16", LONG)

    assert edited == expected
    assert listed(edited) == list(LONG)
    assert max(map(len, edited.splitlines())) <= writing.WIDTH


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("[a, b]  # why", "[]  # why", id="brackets"),
        pytest.param("  # why\n      - a\n      - b  # slow", "[]  # why", id="dashes"),
        pytest.param("\n    # why\n    - a", "[]\n    # why", id="a-comment-above"),
        pytest.param("[]", "[]", id="empty-already"),
    ],
)
def test_without_nodes_a_list_is_emptied(before: str, after: str) -> None:
    text = "precision:\n  fp16:\n    node_block_list: {}\n    method: auto\n"
    given = text.format(before).replace(": \n", ":\n").replace(":   #", ":  #")
    assert with_node_block_list(given, "fp16", []) == text.format(after)


@pytest.mark.parametrize("knobs", ["", " {}", " null", " {method: auto}", "\n    method: auto"])
def test_without_nodes_no_list_is_added(knobs: str) -> None:
    text = f"precision:\n  fp16:{knobs}\n"
    assert with_node_block_list(text, "fp16", []) == text


def test_the_same_list_in_another_style_is_left_as_it_is() -> None:
    text = "precision:\n  fp16:\n    node_block_list: [ '/a/MatMul' , # first\n 'b' ]\n"
    assert with_node_block_list(text, "fp16", AB) == text


# ---- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "written"),
    [
        pytest.param("/layer.0/conv1/Conv_2", "/layer.0/conv1/Conv_2", id="onnx"),
        pytest.param("aten::add", '"aten::add"', id="colons"),
        pytest.param("a b", '"a b"', id="a-space"),
        pytest.param("#1", '"#1"', id="a-hash"),
        pytest.param("12", '"12"', id="a-number"),
        pytest.param("null", '"null"', id="nothing"),
        pytest.param("No", '"No"', id="a-word-of-yaml-1.1"),
        pytest.param('say "\\"', '"say \\"\\\\\\""', id="quotes"),
        pytest.param("größe😀", '"größe😀"', id="beyond-ascii"),
        pytest.param("a\n\t\u2028\u200b", '"a\\n\\t\\u2028\\u200b"', id="what-nobody-sees"),
    ],
)
def test_a_name_is_quoted_where_yaml_needs_it(name: str, written: str) -> None:
    assert quoted(name) == written
    assert yaml.safe_load(f"[{written}]") == [name]


@given(st.text(min_size=1))
def test_every_name_that_a_recipe_can_hold_comes_back(name: str) -> None:
    assume(not writing._UNHELD.search(name))
    for text in ("precision:\n  fp16:\n", "precision: {fp16: {method: auto}}\n"):
        edited = with_node_block_list(text, "fp16", [name, "z"])
        assert listed(edited) == [name, "z"]
        assert yaml.safe_load(edited)["precision"]["fp16"]["node_block_list"] == [name, "z"]


# ---- what cannot be edited -------------------------------------------------------------------

PASTE = "put this into it:\nprecision:\n  fp16:\n    node_block_list:\n      - /a/MatMul\n      - b"
TIED = "an anchor or an unusual layout ties the list to other values"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("opset: 18\n", "it has no `precision.fp16`", id="no-precision"),
        pytest.param("precision:\n  fp32:\n", "it has no `precision.fp16`", id="not-this-precision"),
        pytest.param("precision: [fp16]\n", "it has no `precision.fp16`", id="a-list"),
        pytest.param(
            "precision:\n  fp16: auto\n", "`precision.fp16` is not a mapping", id="a-word"
        ),
        pytest.param(
            "x: &p {fp16: {}}\nprecision: *p\n",
            "`precision` is an alias of values that stand elsewhere", id="alias-of-all",
        ),
        pytest.param(
            "precision:\n  bf16: &h {method: auto}\n  fp16: *h\n",
            "`precision.fp16` is an alias of values that stand elsewhere", id="alias",
        ),
        pytest.param("precision:\n  fp16: &h {method: auto}\n  bf16: *h\n", TIED, id="anchor"),
        pytest.param("precision:\n  fp16: &h\n    method: auto\n  bf16: *h\n", TIED, id="anchored-block"),
        pytest.param(
            "precision:\n  fp16: &h\n  bf16: *h\n",
            "`precision.fp16` is an anchor of nothing", id="anchored-nothing",
        ),
        pytest.param(
            "precision:\n  fp16: {node_block_list: &n [x]}\n",
            "`node_block_list` is an alias or an anchor", id="anchored-list",
        ),
        pytest.param(
            "precision:\n  fp16:\n    node_block_list: [&n x]\n    op_block_list: [*n]\n",
            TIED, id="anchored-name",
        ),
        pytest.param(
            "precision:\n  fp16: {node_block_list: 3}\n",
            "`node_block_list` is not a list", id="a-number-for-a-list",
        ),
        pytest.param(
            "precision:\n  fp16: {node_block_list: null}\n",
            "`node_block_list` has an unusual layout", id="nothing-for-a-list-in-braces",
        ),
        pytest.param("x: &f fp16\nprecision:\n  *f : {}\n", "the key `fp16` is an alias", id="alias-key"),
        pytest.param("precision:\n  ? fp16\n", TIED, id="marked-key-without-value"),
        pytest.param(
            "x: &d {method: auto}\nprecision:\n  fp16:\n    <<: *d\n",
            "it cannot be read: merge keys (`<<`) are not supported", id="merge-key",
        ),
        pytest.param("a: [\n", "it cannot be read: not valid YAML: ", id="no-yaml"),
    ],
)  # fmt: skip
def test_what_cannot_be_edited_says_why_and_what_to_paste(text: str, reason: str) -> None:
    told, hint = refused(text)
    assert told.startswith(reason)
    assert hint == PASTE


def test_an_anchor_that_nobody_uses_is_no_obstacle() -> None:
    text = "precision:\n  fp16: &h {method: auto}\n"
    assert with_node_block_list(text, "fp16", ["b"]).endswith("&h {method: auto, node_block_list: [b]}\n")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("a\x07", "a node's name holds the character U+0007", id="a-bell"),
        pytest.param("", "a node without a name cannot be listed", id="empty"),
    ],
)
def test_a_name_that_no_recipe_can_hold_is_refused(name: str, reason: str) -> None:
    told, hint = refused("precision: {fp16: {}}\n", ("b", name))
    assert (told, hint) == (reason, "give the node another name in the model")


def test_the_lines_to_paste_are_yaml() -> None:
    _, hint = refused("opset: 18\n", ("a: b", "#"))
    assert listed(hint.partition("\n")[2]) == ["a: b", "#"]
