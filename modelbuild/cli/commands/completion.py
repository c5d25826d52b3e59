"""``modelbuild completion``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from modelbuild.wording import output

ABOUT = "print the completion of a shell: commands, options, recipes, artifacts, revisions"
EXAMPLES = """\
examples:
  source <(modelbuild completion bash)      in ~/.bashrc
  source <(modelbuild completion zsh)       in ~/.zshrc, behind compinit
  modelbuild completion fish | source       in ~/.config/fish/config.fish
"""

# Folders, and files whose names end as a recipe's do.
_RECIPES_IN_BASH = """\
_modelbuild_recipe_files() {
  compgen -d -- "$1"
  compgen -f -X '!*.yaml' -- "$1"
  compgen -f -X '!*.yml' -- "$1"
}
"""
_OTHERS_IN_BASH = """\
_modelbuild_artifacts() {
  local file
  for file in "${MODELBUILD_OUT:-build}"/*/*.onnx "${MODELBUILD_OUT:-build}"/*/*.engine; do
    [ -e "$file" ] && printf '%s\\n' "${file##*/}"
  done | { local names; names=$(cat); compgen -W "$names" -- "$1"; }
}
_modelbuild_revisions() {
  compgen -W "HEAD $(git for-each-ref --format='%(refname:short)' 2>/dev/null)" -- "$1"
}
"""
_OTHERS_IN_ZSH = """\
_modelbuild_artifacts() {
  local -a found
  found=(${MODELBUILD_OUT:-build}/*/*.(onnx|engine)(N:t))
  compadd -a found
}
_modelbuild_revisions() {
  compadd HEAD $(git for-each-ref --format='%(refname:short)' 2>/dev/null)
}
"""
_ARTIFACTS = {
    "bash": "_modelbuild_artifacts",
    "zsh": "_modelbuild_artifacts",
    "fish": "(path basename build/*/*.onnx build/*/*.engine)",
}
_REVISIONS = {
    "bash": "_modelbuild_revisions",
    "zsh": "_modelbuild_revisions",
    "fish": "(echo HEAD; git for-each-ref --format='%(refname:short)' 2>/dev/null)",
}
_PREAMBLES = {"bash": _RECIPES_IN_BASH + _OTHERS_IN_BASH, "zsh": _OTHERS_IN_ZSH, "fish": ""}
_RECIPES = {
    "bash": "_modelbuild_recipe_files",
    "zsh": "_files -g '*.y(|a)ml'",
    "fish": "(__fish_complete_suffix .yaml; __fish_complete_suffix .yml)",
}


def run(options: argparse.Namespace) -> int:
    import shtab

    from modelbuild.views import explanations

    meant = {
        "RECIPE": _RECIPES,
        "ARTIFACT": _ARTIFACTS,
        "REV": _REVISIONS,
        "FILE": shtab.FILE,
        "DIR": shtab.DIRECTORY,
    }
    for action in _actions(options.parser):
        if action.metavar in meant:
            action.complete = meant[action.metavar]  # type: ignore[attr-defined]
        elif action.metavar == "CODE":
            action.choices = explanations.codes()
    output.say(shtab.complete(options.parser, options.shell, preamble=_PREAMBLES[options.shell]), end="")
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every option and argument, those of the commands too."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)
