"""What each diagnostic code means, why it happens and what to do: one page of Markdown per code.

A page is ``<code>.md`` in this folder: ``# <code>``, a line with its levels and exit codes
(``error, exit code 2``), and then sections.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files

from modelbuild.base.catalogue import CATALOGUE
from modelbuild.base.errors import Diagnostic, RecipeError


@dataclass(frozen=True)
class Explanation:
    """One page. ``level`` is its second line; ``about`` the first sentence of its first section."""

    code: str
    level: str
    about: str
    text: str


def codes() -> list[str]:
    """Every code, sorted; each has a page."""
    return list(CATALOGUE)


def explain(code: str) -> Explanation:
    """The page of a code; case and the brackets around it in a message do not matter.

    Raises:
        RecipeError: ``recipe-invalid``: there is no such code.
    """
    from modelbuild.recipe.problems import clean
    from modelbuild.wording.phrases import did_you_mean

    wanted = code.strip("[]").lower()
    known = codes()
    if wanted not in known:
        hint = did_you_mean(wanted, known, "`modelbuild explain` lists all codes")
        raise RecipeError(Diagnostic("recipe-invalid", f"there is no code `{clean(code)}`", hint))
    text = (files(__package__) / f"{wanted}.md").read_text(encoding="utf-8")
    _, level, rest = (part.strip() for part in text.split("\n\n", 2))
    return Explanation(wanted, level, _first_sentence(rest), text)


def _first_sentence(sections: str) -> str:
    """The first sentence of the first section, as far as a colon: one line of a list."""
    paragraph = " ".join(sections.split("\n\n")[1].split())
    return re.split(r"\.\s|:\s|\.$", paragraph, maxsplit=1)[0] + "."
