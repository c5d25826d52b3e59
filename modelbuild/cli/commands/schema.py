"""``modelbuild schema``."""

from __future__ import annotations

import argparse

from modelbuild.wording import output

ABOUT = "print the recipe's JSON schema"
EXAMPLES = "example:\n  modelbuild schema > schemas/recipe.schema.json\n"


def run(options: argparse.Namespace) -> int:
    from modelbuild.recipe.json_schema import schema_text

    output.say(schema_text(), end="")
    return 0
