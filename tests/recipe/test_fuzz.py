"""Whatever a file holds, the answer is a recipe or a RecipeError that can be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelbuild.base.errors import RecipeError
from modelbuild.recipe.json_schema import json_schema
from modelbuild.recipe.loading import parse

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
TEXTS = [path.read_text() for path in CONFIGS]

PARTS = json_schema()
WORDS = sorted({key for part in (PARTS, *PARTS["$defs"].values()) for key in part["properties"]})
ODD = [
    "fp32", "fp16", "batch", "import", "a:b", "x", "", "<<", "sm86", "4GiB", "half", "convert",
    "int64", "[key]", "1", "é", "\x07", "~", "no", "tensorrt", "a/b",
]  # fmt: skip

quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 40),
    st.sampled_from([10**18, 10**400, -(10**30)]),
    st.floats(),
    st.sampled_from(ODD + WORDS),
)
keys = st.one_of(st.sampled_from(WORDS + ODD), st.integers(0, 2))
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=30,
)


def answered(source: str | bytes) -> None:
    try:
        recipe = parse(source, "fuzz.yaml", "fuzz")
    except RecipeError as error:
        shown_whole(error)
    else:
        recipe.axes()
        recipe.specs()


def shown_whole(error: RecipeError) -> None:
    assert error.diagnostics
    for found in error.diagnostics:
        assert found.message
        assert found.hint, found
        assert (found.where or "").startswith("fuzz.yaml")
        shown = found.render().replace("\n", "")
        assert all(c.isprintable() for c in shown), shown


@quick
@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    answered(text)


@quick
@given(st.text(alphabet="{}[]:,-&*!|>'\"#%@` \n\tax1?<~."))
def test_any_text_of_yamls_own_signs_is_answered(text: str) -> None:
    answered(text)


@quick
@given(st.binary())
def test_any_bytes_are_answered(source: bytes) -> None:
    answered(source)


@quick
@given(trees)
def test_any_data_is_answered(tree: Any) -> None:
    answered(yaml.dump(tree, sort_keys=False))


@quick
@given(st.dictionaries(st.sampled_from(list(PARTS["properties"])), trees))
def test_any_data_under_the_right_keys_is_answered(tree: dict[str, Any]) -> None:
    answered(yaml.dump({"model": {"import": "m:Net"}, **tree}, sort_keys=False))


@quick
@given(st.data())
def test_a_right_recipe_with_a_value_replaced_is_answered(data: st.DataObject) -> None:
    tree = yaml.safe_load(data.draw(st.sampled_from(TEXTS)))
    for _ in range(data.draw(st.integers(1, 3))):
        spots = list(_spots(tree))
        holder, key = data.draw(st.sampled_from(spots))
        if data.draw(st.booleans()):
            holder[key] = data.draw(trees)
        elif isinstance(holder, dict):
            del holder[key]
        if not tree:
            break
    answered(yaml.dump(tree, sort_keys=False))


def _spots(value: Any) -> Any:
    """Every place in a tree, as its holder and the key there."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(entries):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _spots(inner)


@quick
@given(st.data())
def test_a_right_recipe_with_characters_replaced_is_answered(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 8))
        text = text[:at] + data.draw(st.text(max_size=4)) + text[at + gone :]
    answered(text)
