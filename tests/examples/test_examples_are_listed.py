"""What stands in ``examples/`` is told in its README and built by a test."""

from __future__ import annotations

import re

from modelbuild.recipe.loading import load
from tests.examples import test_export_examples, test_precision_examples
from tests.examples.workshop import EXAMPLES

RECIPES = sorted(EXAMPLES.glob("*.yaml"))


def test_every_example_is_in_the_readme_and_nothing_else() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.yaml\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for name, _ in listed) == [r.stem for r in RECIPES]
    assert all(name == file for name, file in listed)


def test_every_example_is_built_by_a_test() -> None:
    built = (*test_export_examples.BUILT, *test_precision_examples.BUILT)
    assert sorted(built) == [r.stem for r in RECIPES]


def test_every_example_begins_with_what_the_old_script_did() -> None:
    for path in RECIPES:
        schema, was, *_ = path.read_text().splitlines()
        assert schema == "# yaml-language-server: $schema=../schemas/recipe.schema.json"
        assert was.startswith("# Was: ")
        assert load(path).name == path.stem
