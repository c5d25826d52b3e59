"""The recipe reference, as Markdown: every key with its type, default and meaning, out of the types.

What the types do not say is in ``examples``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelbuild.recipe.examples import EXAMPLES, NOTES
from modelbuild.recipe.json_schema import json_schema
from modelbuild.recipe.problems import plain
from modelbuild.recipe.words import AXIS, IMPORT, LARGEST, PATTERNS, SIZE

Node = Mapping[str, Any]

_INTRODUCTION = """\
# The recipe

A recipe is one YAML file for one model. Every key is below, generated from the types that read it; so is
the JSON schema that `modelbuild schema` prints for editors. Only `model` and `inputs` are required.

An unknown key, a key that stands there twice and a wrong type are errors with their line and column.
Paths are relative to the recipe. `modelbuild check` finds mistakes without running anything, and `modelbuild
check --resolved` shows the recipe with every default written out. A project can have defaults of its own:
see [the project file](project.md).
"""

_KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`",
          "array": "list", "object": "mapping"}  # fmt: skip
_KEYS_OF = {"inputs": "name", "dynamic_axes": "axis", "profiles": "axis"}
"""What the keys of a mapping are, where they are the user's."""


def reference() -> str:
    """The page ``docs/recipe.md``."""
    schema = json_schema()
    places = dict(_sections(schema))
    parts = [_INTRODUCTION]
    for name, place in places.items():
        node = schema if name == "Recipe" else schema["$defs"][name]
        heading = f"## `{place}`" if place else "## All keys"
        table = _table(node, {n: _anchor(p) for n, p in places.items() if p})
        example = f"```yaml\n{EXAMPLES[name]}```\n"
        parts += [heading + "\n", node["description"] + "\n", table, NOTES.get(name, ""), example]
    return "\n".join(filter(None, parts))


def _sections(schema: Node) -> Iterator[tuple[str, str]]:
    """Every mapping whose keys are known, in the order of the recipe, and where it stands first."""
    seen: set[str] = set()

    def visit(name: str, node: Node, place: str) -> Iterator[tuple[str, str]]:
        seen.add(name)
        yield name, place
        for key, value in node["properties"].items():
            path = f"{place}.{key}" if place else key
            for found, suffix in _references(value, _KEYS_OF.get(key, "key")):
                if found not in seen:
                    yield from visit(found, schema["$defs"][found], path + suffix)

    return visit("Recipe", schema, "")


def _references(node: Node, key: str) -> Iterator[tuple[str, str]]:
    """The types that a value refers to, and what stands between it and them."""
    if "$ref" in node:
        yield node["$ref"].removeprefix("#/$defs/"), ""
    for option in node.get("anyOf", ()):
        yield from _references(option, key)
    if isinstance(node.get("items"), dict):
        yield from ((name, f"[]{rest}") for name, rest in _references(node["items"], key))
    if isinstance(node.get("additionalProperties"), dict):
        yield from (
            (name, f".<{key}>{rest}") for name, rest in _references(node["additionalProperties"], key)
        )


def _table(node: Node, anchors: Mapping[str, str]) -> str:
    required = node.get("required", ())
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, value in node["properties"].items():
        default = "required" if key in required else _default(value)
        cells = (f"`{key}`", _type(value, anchors), default, value["description"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(value: Node) -> str:
    if value.get("default") in (None, [], {}):
        return ""
    return f"`{_flow(value['default'])}`"


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_flow(v)}" for k, v in value.items()) + "}"
    return plain(value) if type(value) is float and value >= 1 else json.dumps(value).strip('"')


def _type(node: Node, anchors: Mapping[str, str]) -> str:
    """What a value can be, in words, with a link where it has a section of its own."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        return f"[mapping](#{anchors[name]})"
    if "anyOf" in node:
        options = [_type(o, anchors) for o in node["anyOf"] if o.get("type") != "null"]
        return "; or ".join(dict.fromkeys(options))
    if "enum" in node:
        return ", ".join(f"`{choice}`" for choice in node["enum"])
    if node.get("type") == "array":
        inner = _type(node["items"], anchors) if node.get("items") else "anything"
        return f"list of: {inner}"
    if isinstance(node.get("additionalProperties"), dict):
        return f"mapping to: {_type(node['additionalProperties'], anchors)}"
    if node.get("pattern") == SIZE:
        return "a size like `4GiB`"
    if node.get("pattern") == IMPORT:
        return PATTERNS[IMPORT][0]
    if node.get("pattern") == AXIS:
        return "an axis"
    if "pattern" in node:
        return PATTERNS[node["pattern"]][0]
    return _KINDS[node["type"]] + _limits(node) if "type" in node else "anything"


def _limits(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if high is not None and high >= LARGEST:
        high = None
    above = node.get("exclusiveMinimum")
    said = [f"above {above:g}"] if above is not None else []
    if low is not None and high is not None:
        said.append(f"{low:g} to {high:g}")
    elif low is not None:
        said.append(f"{low:g} or more")
    elif high is not None:
        said.append(f"at most {high:g}")
    return f", {' and '.join(said)}" if said else ""


def _anchor(place: str) -> str:
    """How GitHub names the heading of a section."""
    return re.sub(r"[^\w\- ]", "", place.lower()).replace(" ", "-")
