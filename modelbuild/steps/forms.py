"""What may stand for a model, beside a ``torch.nn.Module``, and the files that some of these are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild import archives
from modelbuild.errors import Diagnostic, StepError
from modelbuild.steps import scripts

if TYPE_CHECKING:
    import torch


def as_module(made: Any) -> torch.nn.Module | None:
    """The module that this is or stands for; None if it is none."""
    import torch

    if isinstance(made, torch.jit.ScriptFunction):
        return scripts.of_function(made)
    if not isinstance(made, torch.nn.Module):
        return None
    # torch.compile's wrapper takes *args and **kwargs; its forward() says nothing of the inputs.
    return getattr(made, "_orig_mod", made)


def asleep(module: torch.nn.Module) -> torch.nn.Module:
    """In eval mode, and without gradients."""
    module.eval()
    for parameter in module.parameters():  # requires_grad_() is nothing that TorchScript has
        parameter.requires_grad_(False)
    return module


def placed(
    path: str, args: Sequence[Any], kwargs: Mapping[str, Any], base: Path | None
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments for what ``path`` names; a model's file is one beside the recipe.

    Raises:
        StepError: ``import-failed``: there is no such file.
    """
    given, named = list(args), dict(kwargs)
    file = archives.file_of(path, args, kwargs)
    if base is None or file is None:
        return given, named
    if not (base / file).is_file():
        said = f"there is no file {base / file}"
        raise StepError(Diagnostic("import-failed", said, "it is named from the recipe's folder"))
    if given:
        given[0] = str(base / file)
    else:
        named["f"] = str(base / file)
    if path == "torch.jit:load" and len(given) < 2:  # one that was saved on a GPU is run on this CPU
        named.setdefault("map_location", "cpu")
    return given, named


def not_such_a_file(path: str) -> str:
    """A hint, where what ``path`` names has refused the file that it was given."""
    return f"is it what {archives.SAVED_BY[path]} wrote?" if path in archives.SAVED_BY else ""
