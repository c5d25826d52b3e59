"""Of any recipe, whatever its layout, only the list is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelbuild.base.errors import RecipeError
from modelbuild.base.scalars import quoted
from modelbuild.recipe.writing import with_node_block_list
from tests.recipe.writing import AB, CONFIGS, LONG, data, listed

# ---- any recipe ------------------------------------------------------------------------------

KNOBS = {
    "method": ["auto", '"auto"', "'auto'", "&m auto"],
    "keep_io_types": ["true", "false"],
    "op_block_list": ["[]", "[Softmax, 'Exp']", "[\n          Exp,  # slow\n          Pow]"],
    "tolerance": ["{rtol: 1.0e-2, atol: 0}", "{ cosine: .9, }", "{\n          rtol: 1\n          }"],
    "max_finite_val": ["65504", "&v 1.0", "6e4"],
}
AROUND = ["", "\n", "# wide: [x]\n", "opset: 18  # fp16: {}\n", "name: 'größe😀'\n", "outputs:\n- y\n"]
COMMENTS = ["", "", "  # why", "  # {a: [b"]
names = st.text(
    st.sampled_from("ab/._-:#'\"\\{}[],&*!|>%@ \t\n\u00e9\u4e2d\U0001f600~?019"), min_size=1, max_size=30
)
lists = st.lists(st.one_of(st.sampled_from(LONG), names), max_size=5)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """``fp16:`` with a block below it; what stays of it, in order, and its indentation's style."""
    step = draw(st.sampled_from([2, 4]))
    inner = " " * (2 * step)
    lines = [f"{' ' * step}fp16:{draw(st.sampled_from(COMMENTS))}\n"]
    kept = [lines[0]]
    keys = draw(st.lists(st.sampled_from(sorted(KNOBS)), min_size=1, unique=True))
    at = draw(st.integers(0, 2 * len(keys)))
    for index, key in enumerate(keys):
        if index == at:
            lines += draw(_old_list(inner))
        line = f"{inner}{key}: {draw(st.sampled_from(KNOBS[key]))}{draw(st.sampled_from(COMMENTS))}\n"
        lines.append(line)
        kept.append(line)
        if draw(st.booleans()):
            line = draw(st.sampled_from([f"{inner}# of it\n", "\n", "  # of another\n"]))
            lines.append(line)
            kept.append(line)
    return f"precision:\n{' ' * step}fp32:\n", "".join(lines), kept


@st.composite
def _old_list(draw: st.DrawFn, inner: str) -> list[str]:
    old = [quoted(name) for name in draw(lists)]
    if not old or draw(st.booleans()):
        return [f"{inner}node_block_list: [{', '.join(old)}]\n"]
    dashes = inner + draw(st.sampled_from(["", "  "]))
    comments = st.sampled_from(COMMENTS)
    return [f"{inner}node_block_list:\n", *(f"{dashes}- {name}{draw(comments)}\n" for name in old)]


@st.composite
def braces(draw: st.DrawFn) -> tuple[str, str, list[str]]:
    """``fp16:`` with braces, in one line or in several."""
    entries = [
        f"{key}: {draw(st.sampled_from(KNOBS[key]))}"
        for key in draw(st.lists(st.sampled_from(sorted(KNOBS)), unique=True))
    ]
    if draw(st.booleans()):
        old = [quoted(name) for name in draw(lists)]
        entries.insert(draw(st.integers(0, len(entries))), f"node_block_list: [{', '.join(old)}]")
    comma = draw(st.sampled_from(["", ","])) if entries else ""
    comment = draw(st.sampled_from(COMMENTS))
    if draw(st.booleans()):
        whole = f"{{{', '.join(entries)}{comma}}}"
    else:
        lines = [f"    {entry}" for entry in entries]
        whole = "{\n" + ",\n".join(lines) + f"{comma}{comment}\n  }}"
    if draw(st.booleans()):
        return "precision:\n  fp32:\n", f"  fp16: {whole}{comment}\n", []
    return "precision: {fp32: {}, ", f"fp16: {whole}}}{comment}\n", []


nothing = st.sampled_from(["", " ~", " null", " {}", "  # why", " {}  # why", "\n    # deeper"]).map(
    lambda value: ("precision:\n  fp32:\n", f"  fp16:{value}\n", [])
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.lists(st.sampled_from(AROUND), max_size=3, unique=True),
    after=st.lists(st.sampled_from(AROUND), max_size=3, unique=True),
    section=st.one_of(blocks(), braces(), nothing),
    nodes=lists,
    newline=st.sampled_from(["\n", "\r\n"]),
    bom=st.sampled_from(["", "\ufeff"]),
    final=st.booleans(),
)
def test_of_any_recipe_only_the_list_changes(
    before: list[str],
    after: list[str],
    section: tuple[str, str, list[str]],
    nodes: list[str],
    newline: str,
    bom: str,
    final: bool,
) -> None:
    head, body, kept = section
    head = "".join(before) + head
    tail = "".join(part for part in after if part not in before or part in ("", "\n"))
    head, body, tail = (part.replace("\n", newline) for part in (head, body, tail))
    whole = head + body + tail
    if not final:
        whole, tail = whole.removesuffix(newline), tail.removesuffix(newline)
    old = data(whole)

    edited = with_node_block_list(bom + whole, "fp16", nodes)

    assert with_node_block_list(edited, "fp16", nodes) == edited
    new = data(edited.removeprefix("\ufeff"))
    assert (new["precision"]["fp16"] or {}).get("node_block_list", []) == nodes
    assert without_list(new) == without_list(old)
    if nodes:
        assert yaml.safe_load(edited)["precision"]["fp16"]["node_block_list"] == nodes
    assert edited.startswith(bom + head)
    assert edited.endswith(tail)
    assert edited.endswith(newline) == whole.endswith(newline)
    if newline == "\r\n" and newline in whole:
        assert "\n" not in edited.replace(newline, "")
    rest = edited.removeprefix(bom + head) + newline
    for line in kept:
        _, found, rest = rest.partition(line.replace("\n", newline))
        assert found, line


def without_list(recipe: Any) -> Any:
    """The data without the list, and a precision with nothing in it as the schema reads it."""
    knobs = {k: v for k, v in (recipe["precision"]["fp16"] or {}).items() if k != "node_block_list"}
    return {**recipe, "precision": {**recipe["precision"], "fp16": knobs}}


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet="{}[]:,-&*!|>'\"#~ \n\r\tax\x85"),
    st.sampled_from(["precision:\n  fp16:{}", "precision: {{fp16: {}", "precision:\n  fp16:\n    a: {}"]),
    st.sampled_from(["", "}", "\n  bf16:\n", "\n    node_block_list: [x]"]),
)
def test_of_any_text_the_list_is_set_or_refused(middle: str, start: str, end: str) -> None:
    text = start.format(middle) + end
    try:
        edited = with_node_block_list(text, "fp16", AB)
    except RecipeError:
        return
    assert without_list(data(edited)) == without_list(data(text))
    assert listed(edited) == list(AB)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_can_be_edited_by_adding_lines(path: Path) -> None:
    text = path.read_text()

    edited = with_node_block_list(text, "fp16", LONG)

    assert listed(edited) == list(LONG)
    lines = edited.splitlines()
    assert [line for line in text.splitlines() if line not in lines] == []
