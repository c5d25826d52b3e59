"""The line by which an editor knows what a recipe may hold."""

from __future__ import annotations

import os
from pathlib import Path

SCHEMA = "recipe.schema.json"
MARK = "yaml-language-server"
_ENDS = (".git", "pyproject.toml")  # in the folder of a project, above which nothing is looked for


def with_modeline(text: str, place: Path | None) -> str:
    """A recipe's text, to lie at ``place`` (in the working folder without one), with its modeline.

    It names the schema in the recipe's folder or above it, there or in ``schemas/``; where there is none, one
    beside the recipe, and a comment says how to write that.
    """
    if MARK in text:
        return text
    folder = place.absolute().parent if place is not None else Path.cwd()
    schema = _schema(folder)
    line = f"# {MARK}: $schema={schema or SCHEMA}\n"
    return line + ("" if schema else f"#   modelbuild schema > {SCHEMA}  (what editors read)\n") + text


def _schema(folder: Path) -> str | None:
    for above in (folder, *folder.parents):
        for found in (above / SCHEMA, above / "schemas" / SCHEMA):
            if found.is_file():
                return os.path.relpath(found, folder)
        if any((above / end).exists() for end in _ENDS):
            break
    return None
