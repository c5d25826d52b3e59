"""``modelbuild diff``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelbuild.cli.commands import answers
from modelbuild.wording import output

ABOUT = "say what a change means for the recipes, and what it rebuilds"
EXAMPLES = """\
examples:
  modelbuild diff HEAD                            what is not committed yet
  modelbuild diff origin/main...HEAD              this branch, from where it left main
  modelbuild diff v1 v2 -- configs                between two tags, the recipes of a folder
  modelbuild diff HEAD~1 --format markdown        a comment for a pull request
"""


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("revisions", nargs="+", metavar="REV",
                        help="one git revision, to compare with the working tree, or two")  # fmt: skip
    parser.add_argument("--format", choices=("text", "markdown", "json"),
                        help="markdown: to be posted on a pull request; json: one object")  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="exit code 1 if there is a warning")
    parser.add_argument("--out", dest="published", type=Path, metavar="DIR",
                        help="where artifacts were published: what rebuilds took last time")  # fmt: skip
    parser.add_argument("--cache-dir", dest="store", type=Path, metavar="DIR",
                        help="the store: what rebuilds took last time")  # fmt: skip
    parser.epilog = f"after `--` come recipes and folders to look at\n\n{parser.epilog}"
    parser.set_defaults(paths=())
    _keep_what_follows_dashes(parser)


def run(options: argparse.Namespace) -> int:
    import modelbuild
    from modelbuild.base.errors import Diagnostic, RecipeError
    from modelbuild.cli.terminal import github

    if len(options.revisions) > 2:
        said = f"two revisions can be compared, and not {len(options.revisions)}"
        raise RecipeError(Diagnostic("recipe-invalid", said, "recipes and folders come after `--`"))
    base, head = [*options.revisions, None][:2]
    found = modelbuild.diff(base, head, options.paths, options.published, options.store)
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


def _keep_what_follows_dashes(parser: argparse.ArgumentParser) -> None:
    """argparse forgets where ``--`` stood, and a path would be taken for a revision."""
    parse = parser.parse_known_args

    def parsed(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = list(args or ())
        at = words.index("--") if "--" in words else len(words)
        found, unknown = parse(words[:at], namespace)
        found.paths = tuple(words[at + 1 :])
        return found, unknown

    parser.parse_known_args = parsed  # type: ignore[method-assign,assignment]
