"""The JSON schema: current, and of one mind with the types on what a recipe is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from modelbuild.recipe.finding import find
from modelbuild.recipe.json_schema import json_schema, schema_text
from modelbuild.recipe.loading import load, parse
from modelbuild.recipe.reading import read

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "schemas" / "recipe.schema.json"
CONFIGS = find([str(ROOT / "configs")])


def data_of(text: str) -> Any:
    root = read(text).root
    assert root is not None
    return root.data


def accepts(text: str) -> bool:
    return bool(Draft202012Validator(json_schema()).is_valid(data_of(text)))


def test_the_schema_in_the_repository_is_current() -> None:
    assert SCHEMA.read_text() == schema_text(), "run `make schema`"


def test_the_schema_is_one_of_its_draft_and_describes_every_key() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    for part in (schema, *schema["$defs"].values()):
        for key, value in part["properties"].items():
            assert value.get("description"), f"{part.get('title', part['description'])}: {key}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_loads_and_fits_the_schema(path: Path) -> None:
    recipe = load(path)
    text = path.read_text()
    errors = [e.message for e in Draft202012Validator(json_schema()).iter_errors(data_of(text))]
    assert errors == []
    assert text.startswith("# yaml-language-server: $schema=../schemas/recipe.schema.json\n")
    assert recipe.outputs


def test_the_names_of_the_repositorys_recipes_differ() -> None:
    names = [load(path).name for path in CONFIGS]
    assert len(names) == len(set(names)) >= 7


PLAIN = "model: {import: 'm:Net'}\ninputs: {x: {shape: [3]}}\n"


@pytest.mark.parametrize(
    "tail",
    [
        "precision: {fp32: , fp16: {}}",
        "precision: {fp16: {op_block_list: }}",
        "engines: [{precision: fp32, builder: {workspace: 4GiB}}]",
        "engines: [{precision: fp32, builder: {workspace: 1024}}]",
        "verify: {data: [a.npz, b.npz]}",
        "verify: {data: a.npz}",
        "name: net.v2",
    ],
)
def test_the_schema_accepts_what_the_types_accept(tail: str) -> None:
    parse(PLAIN + tail, "net.yaml", "net")
    assert accepts(PLAIN + tail)


@pytest.mark.parametrize(
    "text",
    [
        "inputs: {x: {shape: [3]}}",
        "model: {import: 'm:Net'}",
        PLAIN + "dynamic_axis: {}",
        PLAIN + "name: a/b",
        PLAIN + "opset: abc",
        PLAIN + "dynamic_axes: {a b: {min: 1, opt: 1, max: 1}}",
        PLAIN + "dynamic_axes: {a: {min: 0, opt: 1, max: 1}}",
        PLAIN + "engines: [{precision: fp32, builder: {workspace: 4Gib}}]",
        PLAIN + "precision: {int4: {}}",
        "model: {import: m.Net}\ninputs: {x: {shape: [3]}}",
        "model: {import: 'm:Net'}\ninputs: {}",
        "model: {import: 'm:Net'}\ninputs: {x: {shape: [a b]}}",
    ],
)
def test_the_schema_refuses_what_an_editor_should_underline(text: str) -> None:
    assert not accepts(text)


def test_a_schema_handed_out_is_the_callers_own() -> None:
    json_schema()["properties"].clear()
    assert "model" in json_schema()["properties"]


def _examples() -> dict[str, tuple[str, Any]]:
    """Each example in the schema, with the type and the key that it is of."""
    schema = json_schema()
    types = {"Recipe": schema, **schema["$defs"]}
    return {
        f"{name}.{key} {number}": (name, key, example)
        for name, node in types.items()
        for key, value in node["properties"].items()
        for number, example in enumerate(value.get("examples", ()))
    }


EXAMPLES_OF_KEYS = _examples()


@pytest.mark.parametrize("which", sorted(EXAMPLES_OF_KEYS))
def test_an_example_of_a_key_is_a_value_that_it_takes(which: str) -> None:
    name, key, example = EXAMPLES_OF_KEYS[which]
    schema = json_schema()
    node = schema if name == "Recipe" else schema["$defs"][name]

    Draft202012Validator({"$defs": schema["$defs"], **node["properties"][key]}).validate(example)


def test_the_schema_says_what_it_is_and_shows_a_whole_recipe() -> None:
    schema = json_schema()

    assert schema["$id"] == "urn:modelbuild:recipe"
    (example,) = schema["examples"]
    Draft202012Validator(schema).validate(example)
    assert parse(yaml.safe_dump(example), "example", "net").precision.names == ("fp32", "fp16")


def test_a_key_that_is_not_plain_from_its_type_has_an_example() -> None:
    """A number, a choice and a switch speak for themselves; a text, a list and a mapping do not."""
    schema = json_schema()
    types = {"Recipe": schema, **schema["$defs"]}
    silent = [
        f"{name}.{key}"
        for name, node in types.items()
        for key, value in node["properties"].items()
        if "examples" not in value and "enum" not in value and _is_made_of_more(value)
    ]
    assert silent == []


def _is_made_of_more(value: dict[str, Any]) -> bool:
    kinds = {option.get("type") for option in (value, *value.get("anyOf", ()))}
    return bool(kinds & {"string", "array", "object"})
