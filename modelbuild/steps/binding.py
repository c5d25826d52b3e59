"""Which input of a recipe is which argument of forward()."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.steps import forms, scripts
from modelbuild.wording.phrases import listed

if TYPE_CHECKING:
    import torch

_KINDS = inspect.Parameter


def bind(
    module: torch.nn.Module, names: Sequence[str], values: Sequence[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments for forward(): by name if every input is a parameter, by position if none is.

    Names come back in the signature's order, because the exporters pair names and values by it.
    An exported program is given each as it was made with.

    Raises:
        StepError: ``inputs-mismatch``.
    """
    parameters = scripts.signature(module).parameters
    named = {n: p for n, p in parameters.items() if p.kind not in (_KINDS.VAR_POSITIONAL, _KINDS.VAR_KEYWORD)}
    known = [n for n in names if n in named and named[n].kind is not _KINDS.POSITIONAL_ONLY]
    signature = f"forward({', '.join(str(p).split(':')[0].split('=')[0] for p in parameters.values())})"
    required = {n for n, p in named.items() if p.default is _KINDS.empty}
    if known and len(known) < len(names):
        others = [n for n in names if n not in known]
        raise _mismatch(
            f"{listed(others)}: not a parameter of {signature}, while {listed(known)} is",
            "name every input after a parameter of forward(), or none to pass them by position",
        )
    if known:
        lacking = [n for n in named if n in required and n not in known]
        if lacking:
            raise _mismatch(f"{signature} also needs {listed(lacking)}", "add it to the recipe's `inputs`")
        given = dict(zip(names, values, strict=True))
        return _as_made(module, {n: given[n] for n in named if n in given})
    if _takes_any_name(parameters):
        return (), dict(zip(names, values, strict=True))
    positional = [n for n, p in named.items() if p.kind is not _KINDS.KEYWORD_ONLY]
    open_ended = any(p.kind is _KINDS.VAR_POSITIONAL for p in parameters.values())
    if len(names) > len(positional) and not open_ended:
        raise _mismatch(
            f"the recipe has {len(names)} inputs, {signature} takes {len(positional)}",
            "remove inputs, or name them after the parameters",
        )
    lacking = [n for n in named if n in required and n not in positional[: len(names)]]
    if lacking:
        raise _mismatch(
            f"{signature} also needs {listed(lacking)}",
            f"inputs {listed(list(names))} are passed by position; add the missing ones",
        )
    if forms.made_with(module) is not None:
        return _as_made(module, dict(zip(positional, values, strict=False)))
    return tuple(values), {}


def dynamic_shapes(module: torch.nn.Module, names: Sequence[str], shapes: Sequence[Any]) -> Any:
    """As torch.export wants them, beside what ``bind`` gives: ``shapes`` are one for each input.

    ``*args`` wants them one level deeper. ``**kwargs`` behind it takes nothing.
    """
    args, kwargs = bind(module, names, shapes)
    parameters = scripts.signature(module).parameters
    if kwargs:
        return {**dict(zip(parameters, args, strict=False)), **kwargs}
    kinds = [p.kind for p in parameters.values()]
    if _KINDS.VAR_POSITIONAL not in kinds:
        return args
    plain = sum(k in (_KINDS.POSITIONAL_ONLY, _KINDS.POSITIONAL_OR_KEYWORD) for k in kinds)
    return (*args[:plain], args[plain:])


def spell_out(module: torch.nn.Module, names: Sequence[str]) -> None:
    """Make a forward() that takes ``**kwargs`` alone one that takes these names' values, by position.

    torch.export wants the shapes of ``**kwargs`` in two forms at once.
    """
    if scripts.is_script(module) or not _takes_any_name(scripts.signature(module).parameters):
        return
    real = module.forward

    def forward(*inputs: Any) -> Any:
        return real(**dict(zip(names, inputs, strict=True)))

    module.forward = forward


def _takes_any_name(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return [p.kind for p in parameters.values()] == [_KINDS.VAR_KEYWORD]


def _as_made(module: torch.nn.Module, given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """By name; of an exported program, those by position that it was made with so."""
    made = forms.made_with(module) or 0
    values = list(given.values())
    return tuple(values[:made]), dict(list(given.items())[made:])


def _mismatch(message: str, hint: str) -> StepError:
    return StepError(Diagnostic("inputs-mismatch", message, hint))
