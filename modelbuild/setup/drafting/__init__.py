"""A first recipe: ``modelbuild init``, from a PyTorch model or an ONNX file.

The model is imported and tried, as its owner asks, in a child process: whatever its code does there,
the command goes on. What is proposed was run; where trying fails, what a signature does not say
(shapes, ranges) is guessed from names, from the default config, or from the layers. Comments in the
recipe say which it was.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from modelbuild.base.errors import Diagnostic, ModelbuildError, RecipeError, StepError, first_line
from modelbuild.base.escaping import line
from modelbuild.building import undisclosed
from modelbuild.machine import isolate
from modelbuild.recipe.words import IMPORT
from modelbuild.setup.drafting import going_on, proposing
from modelbuild.setup.drafting.asked import NOTHING, Asked
from modelbuild.setup.drafting.exporting import PATIENCES as PATIENCES
from modelbuild.setup.drafting.text import Draft

PATIENCE = 30.0
"""Seconds for trying a model, 0 to leave it alone; its export has some of these more. Importing and making it
are not counted."""


def draft(model: str, patience: float = PATIENCE, asked: Asked = NOTHING, exports: float = PATIENCES) -> str:
    """The text of a recipe for ``package.module:attribute``, which ``modelbuild check`` accepts.

    Its export is tried for ``exports`` times ``patience`` seconds, and not at all where they are 0.

    Raises:
        RecipeError: ``model`` is not an import path.
        StepError: ``import-failed``, or ``inputs-mismatch`` where forward() takes no tensor, or none of a
            name that is asked for.
    """
    if not re.fullmatch(IMPORT, model):
        raise RecipeError(
            Diagnostic(
                "recipe-invalid",
                f"`{line(model)}` is not an import path",
                "write `package.module:attribute`, as in `transformers:BertModel`",
            )
        )
    return _draft(model, patience, asked, exports).text


def draft_from(recipe: Path, place: Path | None, patience: float = PATIENCE) -> str:
    """A recipe that may lack its inputs, outputs and axes, with these; to be written to ``place``.

    Raises:
        RecipeError: the recipe cannot be read, what it says is wrong, it is of an ONNX file, or ``place`` is
            in another folder, where its paths would be others.
        StepError: as ``draft``.
    """
    if place is not None and place.absolute().parent.resolve() != recipe.absolute().parent.resolve():
        message = f"{place} is in another folder than {recipe}, whose paths are relative to its own"
        raise RecipeError(Diagnostic("recipe-invalid", message, "write beside the recipe"))
    document, model, asked = going_on.known(recipe)
    return going_on.completed(document, _draft(model, patience, asked, PATIENCES))


def _draft(model: str, patience: float, asked: Asked, exports: float) -> Draft:
    undisclosed.must_be()
    import onnxscript  # noqa: F401
    import torch  # noqa: F401 - once, for all the children

    def drafted(patience: float | None, said: str | None) -> Draft:
        for folder in dict.fromkeys((str(Path.cwd()), str(asked.base.absolute()))):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        return proposing.for_import(model, asked, patience, said, exports)

    what = f"importing `{model}` ended the process"
    return _in_child(drafted, patience, what, "import it in a Python shell to see where it fails")


def draft_of_onnx(path: Path, recipe: Path | None, patience: float = PATIENCE) -> str:
    """The text of a recipe for an ONNX file, to be written to ``recipe`` or into this folder.

    Raises:
        RecipeError: there is no such file.
        StepError: it is no ONNX model, or it has inputs that a recipe cannot have.
    """
    import onnx  # noqa: F401 - once, for both children

    name = os.path.relpath(path.absolute(), recipe.absolute().parent if recipe else Path.cwd())
    return _in_child(
        lambda patience, said: proposing.for_onnx(path, name, patience, said), patience,
        f"reading {path} ended the process", "is it a valid ONNX file?",
    ).text  # fmt: skip


def save(text: str, path: Path) -> None:
    """Write a draft to a new file.

    Raises:
        RecipeError: there is a file already; it may hold somebody's work.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise _exists(path) from error


def must_be_new(path: Path) -> None:
    """Refuse a place where ``save`` would.

    Raises:
        RecipeError: there is a file already.
    """
    if os.path.lexists(path):
        raise _exists(path)


def _exists(path: Path) -> RecipeError:
    return RecipeError(
        Diagnostic("recipe-invalid", f"{path} exists already", "name another file, or remove it")
    )


def _in_child(
    draft: Callable[[float | None, str | None], Draft], patience: float, what: str, hint: str
) -> Draft:
    """Draft in a child that tries the model; if that kills it, in one that only reads it.

    Raises:
        StepError: what the draft raises; ``import-failed`` with ``what`` if the second child dies, too.
    """
    if not patience:
        found, died = _drafted(lambda: draft(None, "patience is 0"), hint)
    else:
        found, died = _drafted(lambda: draft(patience, None), hint)
    if found is None and patience:
        slow = f"it ran for more than {patience:.0f} s"
        said = slow if died.startswith("killed by SIGALRM") else f"trying it ended the process: {died}"
        found, died = _drafted(lambda: draft(None, said), hint)
    if found is None:
        raise StepError(Diagnostic("import-failed", f"{what}: {died}", hint))
    return found


def _drafted(draft: Callable[[], Draft], hint: str) -> tuple[Draft | None, str]:
    """The draft that a child makes, or how the child died. What the model prints is not the recipe's."""
    with tempfile.TemporaryFile() as log:

        def silenced() -> Draft:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
            # A caller may have put something else there than these streams.
            sys.stdout = sys.stderr = io.TextIOWrapper(log, line_buffering=True)
            return draft()

        try:
            ended = isolate.in_child(silenced)
        except EOFError:  # the model's code ended the process as if all were well
            return None, "exited with 0"
        if isinstance(ended.error, Exception | SystemExit) and not isinstance(ended.error, ModelbuildError):
            diagnostic = Diagnostic("import-failed", f"drafting failed: {first_line(ended.error)}", hint)
            raise StepError(diagnostic) from ended.error
        if ended.error is not None:
            raise ended.error
        log.seek(0)
        last = log.read().decode(errors="replace").strip().splitlines()[-1:]
        return ended.value, ": ".join([ended.died or "", *last])
