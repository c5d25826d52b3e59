"""The recipe's types as a JSON schema, for editors and for the names that exist at a place."""

from __future__ import annotations

import functools
import json
from typing import Any

from modelbuild.recipe.examples import EXAMPLES
from modelbuild.recipe.problems import Route
from modelbuild.recipe.reading import read
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.part import Part

ID = "urn:modelbuild:recipe"  # the same wherever a copy of it lies
DRAFT = "https://json-schema.org/draft/2020-12/schema"


@functools.cache
def _schema(of: type[Part] = Recipe) -> dict[str, Any]:
    generated: dict[str, Any] = _tidy(of.model_json_schema(by_alias=True))
    if of is Recipe:
        generated["required"].remove("name")  # filled in with the file's stem before validation
        generated["examples"] = [root.data] if (root := read(EXAMPLES["Recipe"]).root) else []
        return {"$schema": DRAFT, "$id": ID, "title": "modelbuild recipe", **generated}
    return {"$schema": DRAFT, **generated}


def schema_text() -> str:
    """The schema as it lies in ``schemas/recipe.schema.json``."""
    return json.dumps(_schema(), indent=2, ensure_ascii=False) + "\n"


def json_schema() -> dict[str, Any]:
    """The JSON schema of a recipe, draft 2020-12; a fresh copy."""
    copy: dict[str, Any] = json.loads(schema_text())
    return copy


def known_keys(route: Route, of: type[Part] = Recipe) -> list[str]:
    """The keys that the mapping at ``route`` may have; empty where they are the user's."""
    return list(_value(_at(route, of), of).get("properties", {}))


def description(route: Route, of: type[Part] = Recipe) -> str:
    """What the value at ``route`` is, or else what holds it, in a sentence: a hint."""
    for end in range(len(route), 0, -1):
        node = _at(route[:end], of)
        text = node.get("description") or _value(node, of).get("description")
        if text:
            first = str(text).partition(". ")[0].rstrip(".")
            return first[:1].lower() + first[1:]
    return "`modelbuild schema` prints the whole format"


def _at(route: Route, of: type[Part]) -> dict[str, Any]:
    node = _schema(of)
    for step in route:
        node = _value(node, of)
        named = node.get("properties", {}).get(step, node.get("additionalProperties"))
        inner = node.get("items") if isinstance(step, int) else named
        node = inner if isinstance(inner, dict) else {}
    return node


def _value(node: dict[str, Any], of: type[Part]) -> dict[str, Any]:
    """The schema of the value proper: through references and past "or null"."""
    if "$ref" in node:
        name = node["$ref"].removeprefix("#/$defs/")
        return _value(_schema(of)["$defs"][name], of)
    first: dict[str, Any] = node.get("anyOf", [node])[0]
    return first if first is node else _value(first, of)


def _tidy(node: Any) -> Any:
    """pydantic's schema without what only repeats names, and with keys that must match.

    A ``default: null`` is dropped, as ``fp32: null`` means "with defaults" and not "absent". A key
    that does not match ``patternProperties`` would pass, so the pattern moves to the names.
    """
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _tidy(value)
        for key, value in node.items()
        if value is not None and not (key == "title" and isinstance(value, str))
    }
    for pattern, value in kept.pop("patternProperties", {}).items():
        kept["additionalProperties"] = value
        kept["propertyNames"] = {"pattern": pattern, **kept.get("propertyNames", {})}
    return kept
