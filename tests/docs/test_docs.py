"""What the documents say is what there is."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
import yaml
from onnxconverter_common import auto_mixed_precision, auto_mixed_precision_model_path, float16

from modelbuild.cli import commands
from modelbuild.recipe.examples import EXAMPLES, NOTES
from modelbuild.recipe.json_schema import json_schema, known_keys
from modelbuild.recipe.loading import load, parse
from tests.docs.pages import EXPLANATIONS, PAGES, ROOT

README = ROOT / "README.md"
COMING_FROM = ROOT / "docs/coming-from"
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def test_the_recipe_in_the_readme_is_the_one_in_configs() -> None:
    block = re.search(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    assert yaml.safe_load(block[1]) == yaml.safe_load((ROOT / "configs/resnet50.yaml").read_text())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_a_valid_recipe(path: Path) -> None:
    assert load(path).name


@pytest.mark.parametrize("command", sorted(commands.ALL))
def test_every_command_is_in_the_readme_and_has_an_example(command: str) -> None:
    assert f"| `modelbuild {command}" in README.read_text()
    examples = commands.ALL[command].EXAMPLES
    assert examples.startswith("example")
    assert f"\n  modelbuild {command} " in examples


def test_the_generated_pages_are_current() -> None:
    for name, text in runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]().items():
        assert (ROOT / "docs" / name).read_text() == text, f"docs/{name} is not current: run `make docs`"


def test_the_reference_has_every_key_of_every_type_with_an_example() -> None:
    schema, page = json_schema(), (ROOT / "docs/recipe.md").read_text()
    types = {"Recipe": schema, **schema["$defs"]}
    assert set(EXAMPLES) == set(types)
    assert set(NOTES) <= set(types)
    for name, node in types.items():
        assert node["description"] in page
        for key, value in node["properties"].items():
            assert f"| `{key}` |" in page
            assert value["description"].replace("|", "\\|") in page, f"{name}.{key}"


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_example_of_a_section_is_a_valid_recipe_that_uses_its_keys(name: str) -> None:
    assert parse(EXAMPLES[name], name, "net").name == "net"
    schema = json_schema()
    node = schema if name == "Recipe" else schema["$defs"][name]
    used = [key for key in node["properties"] if re.search(rf"\b{key}:", EXAMPLES[name])]
    assert len(used) >= min(2, len(node["properties"])), name


@pytest.mark.parametrize(
    ("page", "function"),
    [
        ("torch-onnx-export", torch.onnx.export),
        ("onnxconverter-common", float16.convert_float_to_float16),
        ("onnxconverter-common", auto_mixed_precision.auto_convert_mixed_precision),
        (
            "onnxconverter-common",
            auto_mixed_precision_model_path.auto_convert_mixed_precision_model_path,
        ),
    ],
)
def test_every_parameter_of_a_function_has_its_place_in_the_table(
    page: str, function: Callable[..., Any]
) -> None:
    rows = [line for line in (COMING_FROM / f"{page}.md").read_text().splitlines() if line.startswith("| `")]
    named = {
        re.split(r"=", span)[0] for row in rows for span in re.findall(r"`([^`]+)`", row.split(" | ")[0])
    }
    assert set(inspect.signature(function).parameters) - named == set()


def _paths() -> list[str]:
    """Every key of a recipe that a sentence or a table names by its path: `engines[].builder.tf32`."""
    top = "|".join(json_schema()["properties"])
    pattern = rf"`((?:{top})(?:\[\d*\])?(?:\.[\w<>]+(?:\[\d*\])?)+)(?:: [^`]*)?`"
    files = [*PAGES, *EXPLANATIONS]
    return sorted({path for file in files for path in re.findall(pattern, file.read_text())})


@pytest.mark.parametrize("path", _paths())
def test_a_key_that_a_page_names_is_one_that_there_is(path: str) -> None:
    route: list[str | int] = []
    for part in path.split("."):
        name = part.partition("[")[0]
        known = known_keys(tuple(route))
        if known and name != "<precision>":
            assert name in known or name == "<name>", f"{name} is none of {known}"
        route.append("fp16" if name in ("<precision>", "<name>") and route == ["precision"] else name)
        route += [0] if "[" in part else []


def test_keys_are_found_in_pages() -> None:
    assert {"engines[].builder", "verify.function", "inputs.<name>.values"} <= set(_paths())


def test_the_picture_shows_what_the_commands_of_today_print_and_asks_no_network() -> None:
    picture = (ROOT / "docs/build.svg").read_text()
    texts = [node.text or "" for node in ElementTree.fromstring(picture).iter() if node.tag.endswith("}text")]
    shown = "".join(texts).replace("\xa0", " ")
    for command in runpy.run_path(str(ROOT / "docs/picture.py"))["COMMANDS"]:
        assert command in shown
    assert "headroom  proof" in shown
    assert re.findall(r"https?://(?!www\.w3\.org/)[^\"\s]+", picture.partition("-->")[2]) == []
