"""What may stand for a model, beside a ``torch.nn.Module``, and the files that some of these are in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base import archives
from modelbuild.base.errors import Diagnostic, StepError, first_line
from modelbuild.steps import failures, origins, scripts
from modelbuild.steps.words import import_failed, kind

if TYPE_CHECKING:
    import torch


def as_module(made: Any) -> torch.nn.Module | None:
    """The module that this is or stands for; None if it is none."""
    import torch

    if isinstance(made, torch.jit.ScriptFunction):
        return scripts.of_function(made)
    if isinstance(made, torch.export.ExportedProgram):
        made = made.module()
    if not isinstance(made, torch.nn.Module):
        return None
    # torch.compile's wrapper takes *args and **kwargs; its forward() says nothing of the inputs.
    return getattr(made, "_orig_mod", made)


def asleep(module: torch.nn.Module) -> torch.nn.Module:
    """In eval mode, and without gradients.

    Raises:
        StepError: ``import-failed``: its own eval() fails.
    """
    from torch.nn.parameter import is_lazy

    for part in module.modules():
        if made_with(part) is not None:
            _settle(part)
    try:
        module.eval()
    except Exception as error:
        raise import_failed(
            f"eval() of {kind(module)} fails: {first_line(error)}{origins.place(error)}",
            "the model is exported in eval mode: let its eval() and train() return it",
        ) from error
    for parameter in module.parameters():  # requires_grad_() is nothing that TorchScript has
        if not is_lazy(parameter):  # one that the first call gives its size
            parameter.requires_grad_(False)
    return module


def _settle(program: Any) -> None:
    """The mode of an exported program was settled when it was made; it raises when asked for another."""
    for part in program.modules():
        part.training = False
    program.train = lambda mode=True: program
    program.eval = lambda: program


def made_with(module: torch.nn.Module) -> int | None:
    """How many positional arguments an exported program was made with, and takes; None for other modules."""
    spec: Any = vars(module).get("_in_spec")
    return None if spec is None or spec.num_children != 2 else int(spec.child(0).num_children)


def around(module: torch.nn.Module, names: Sequence[str] = ()) -> torch.nn.Module:
    """A module that calls this one, the last values by these names."""
    import torch

    class Around(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, *inputs: Any) -> Any:
            first = len(inputs) - len(names)
            return self.model(*inputs[:first], **dict(zip(names, inputs[first:], strict=True)))

    return Around().eval()


def is_unfinished(module: torch.nn.Module) -> bool:
    """Whether it has torch's lazy layers, which their first input makes ordinary ones."""
    from torch.nn.modules.lazy import LazyModuleMixin

    lazy = (m for m in module.modules() if isinstance(m, LazyModuleMixin))
    return any(hasattr(m, "_initialize_hook") for m in lazy)


def hint_of_half(module: torch.nn.Module, error: BaseException) -> str:
    """What to do where inputs are float32 and weights are not, which PyTorch says in its own way."""
    kinds = {str(p.dtype).removeprefix("torch.") for p in module.parameters()} & {"bfloat16", "float16"}
    if not kinds or not re.search(r"dtype|data type|scalar type|Input type", str(error)):
        return ""
    return failures.AS_FLOAT32.format(kinds.pop())


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
