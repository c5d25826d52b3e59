"""A first recipe from a model's signature: ``modelbuild init``.

It imports the model, as its owner asks, and reads the parameters of ``forward()``. What a
signature does not say (shapes, ranges) is guessed from names, from the default config, or from the
first layer, and every guess carries a comment that says so.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from modelbuild.drafting.inputs import guess
from modelbuild.drafting.signature import read
from modelbuild.drafting.text import write
from modelbuild.errors import Diagnostic, RecipeError
from modelbuild.recipe.words import IMPORT
from modelbuild.steps.model import import_attribute


def draft(model: str) -> str:
    """The text of a recipe for ``package.module:attribute``, which ``modelbuild check`` accepts.

    Raises:
        RecipeError: ``model`` is not an import path.
        StepError: ``import-failed``, or ``inputs-mismatch`` where forward() takes no tensor.
    """
    if not re.fullmatch(IMPORT, model):
        raise RecipeError(
            Diagnostic(
                "recipe-invalid",
                f"`{model}` is not an import path",
                "write `package.module:attribute`, as in `transformers:BertModel`",
            )
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    subject = read(model, import_attribute(model))
    wanted, optional = guess(model, subject)
    return write(model, subject, wanted, optional)


def save(text: str, path: Path) -> None:
    """Write a draft to a new file.

    Raises:
        RecipeError: there is a file already; it may hold somebody's work.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        said = Diagnostic("recipe-invalid", f"{path} exists already", "name another file, or remove it")
        raise RecipeError(said) from error
