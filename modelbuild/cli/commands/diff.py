"""``modelbuild diff``."""

from __future__ import annotations

import argparse

from modelbuild.cli.commands import answers
from modelbuild.wording import output

ABOUT = "say what a change means for the recipes, and what it rebuilds"
EXAMPLES = """\
examples:
  modelbuild diff HEAD                            what is not committed yet
  modelbuild diff origin/main...HEAD              this branch, from where it left main
  modelbuild diff v1 v2 -- configs                between two tags, the recipes of a folder
  modelbuild diff HEAD~1 --format markdown        a comment for a pull request

after `--` come recipes and folders to look at
"""


def run(options: argparse.Namespace) -> int:
    import modelbuild
    from modelbuild.base.errors import Diagnostic, RecipeError
    from modelbuild.cli.terminal import github

    if len(options.revisions) > 2:
        said = f"two revisions can be compared, and not {len(options.revisions)}"
        raise RecipeError(Diagnostic("recipe-invalid", said, "recipes and folders come after `--`"))
    base, head = [*options.revisions, None][:2]
    found = modelbuild.diff(base, head, options.paths, options.out, options.cache_dir)
    if options.format == "json":
        answers.as_json(found.as_json())
    elif options.format == "markdown":
        from modelbuild.changes.review import markdown

        output.say(markdown.render(found))
    else:
        from modelbuild.changes.review import plain

        output.show(plain.render(found))
    github.annotate((r.recipe, d) for r in found.recipes for d in r.diagnostics)
    return found.exit_code(options.strict)
