"""What is known of a model without running it: its forward(), its arguments, its config."""

from __future__ import annotations

import contextlib
import inspect
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.setup.drafting.arguments import NOTHING, Made, settle
from modelbuild.setup.drafting.asked import Asked
from modelbuild.steps import forms, scripts
from modelbuild.steps.model import resolve

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Subject:
    """What can be known of a model without running it.

    ``call`` is what it is made with, and ``module`` the model itself, without its weights
    where it can be made so, where it could be made. Where ``open`` is true, forward() takes any number of
    tensors, where ``names_are_free`` inputs of any names.
    """

    forward: Mapping[str, inspect.Parameter]
    call: Made = NOTHING
    config: Any = None
    main_input: str | None = None
    module: torch.nn.Module | None = None
    open: bool = False
    names_are_free: bool = False
    notes: tuple[str, ...] = ()

    def setting(self, *names: str) -> int | None:
        """A number in the config, or in the config of its text or vision part."""
        parts = [self.config, *(getattr(self.config, f"{p}_config", None) for p in ("text", "vision"))]
        for name in names:
            for part in parts:
                value = getattr(part, name, None)
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
        return None


def read(model: str, attribute: Any, asked: Asked) -> Subject:
    """What the attribute is: a model, a class of models, or a function that returns one.

    Raises:
        StepError: it is none of these, has no forward() with a tensor, or what is asked for cannot be made.
    """
    import torch

    instance = forms.as_module(attribute)
    if instance is not None:
        resolve({"import": model, "args": list(asked.args), "kwargs": asked.kwargs})  # it takes none
        return _of_instance(model, instance)
    if not callable(attribute):
        raise _not_a_model(model, attribute)
    call = settle(attribute, asked.args, asked.kwargs)
    if isinstance(attribute, type) and issubclass(attribute, torch.nn.Module):
        return _of_class(model, attribute, call, asked)
    return _of_function(model, attribute, call, asked)


def spec(model: str, call: Made, asked: Asked) -> dict[str, Any]:
    """What is made, as a recipe's ``model`` says it."""
    return {"import": model, "args": list(asked.args), "kwargs": {a.name: a.value for a in call.kwargs}}


def _of_instance(model: str, module: torch.nn.Module) -> Subject:
    config, main = getattr(module, "config", None), getattr(module, "main_input_name", None)
    signature = scripts.signature(module) if scripts.is_script(module) else None
    forward = _parameters(model, module.forward, known=signature)
    found = Subject(forward, config=config, main_input=main if main in forward else None, module=module)
    return found if signature is not None else _opened(found, module.forward)


def _of_class(model: str, cls: type[torch.nn.Module], call: Made, asked: Asked) -> Subject:
    forward = _parameters(model, cls.forward, bound=False)
    main = getattr(cls, "main_input_name", None)
    module = _made(lambda: resolve(spec(model, call, asked))) if call.complete else None
    found = Subject(forward, call, call.config, main if main in forward else None, module, notes=call.notes)
    return _opened(found, cls.forward)


def _of_function(model: str, function: Any, call: Made, asked: Asked) -> Subject:
    """A function: what it returns if it can be called, or what it is annotated to return."""
    import torch

    if call.complete:
        source = spec(model, call, asked)
        made = _made(lambda: resolve(source)) or resolve(source, asked.base)
        module = forms.as_module(made)
        if module is None:
            raise _not_a_model(model, made)
        found = _of_instance(model, module)
        return replace(found, call=call, notes=(*call.notes, *found.notes))
    owner = getattr(function, "__self__", None)  # Net.from_name, a class method
    promised = owner if isinstance(owner, type) else _return_type(function)
    base = torch.nn.Module
    if isinstance(promised, type) and issubclass(promised, base) and promised is not base:
        forward = _parameters(model, promised.forward, bound=False)
        return Subject(forward, call, notes=call.notes)
    guess = inspect.Parameter("input", inspect.Parameter.POSITIONAL_ONLY)
    unknown = f"`{model}` needs arguments, so forward() could not be read: the inputs are a pure guess"
    return Subject({"input": guess}, call, notes=(*call.notes, unknown), names_are_free=True)


def _opened(subject: Subject, forward: Any) -> Subject:
    """With whether it is ``forward(self, *tensors)`` or ``forward(self, **tensors)``."""
    parameter = inspect.Parameter
    kinds = {p.kind for p in inspect.signature(forward).parameters.values() if p.name != "self"}
    takes_any = parameter.VAR_POSITIONAL in kinds and parameter.POSITIONAL_OR_KEYWORD not in kinds
    return replace(subject, open=takes_any, names_are_free=takes_any or kinds == {parameter.VAR_KEYWORD})


def _made(function: Any) -> torch.nn.Module | None:
    """The model without its weights: on torch's meta device a tensor has a shape and no memory."""
    import torch

    with contextlib.suppress(Exception, SystemExit), torch.device("meta"):
        made = function()
        if isinstance(made, torch.nn.Module):
            return made
    return None


def _parameters(
    model: str, forward: Any, *, bound: bool = True, known: inspect.Signature | None = None
) -> dict[str, inspect.Parameter]:
    """The parameters of forward(), without ``self``, ``**kwargs`` and ``*args``."""
    if getattr(forward, "__name__", "") == "_forward_unimplemented":
        raise no_input(f"`{model}` has no forward()")
    try:
        found = list((known or inspect.signature(forward)).parameters.values())
    except (TypeError, ValueError) as error:
        raise no_input(f"the signature of `{model}`'s forward() cannot be read") from error
    named = {p.name: p for p in (found if bound else found[1:]) if not _is_open(p)}
    if not named and any(p.kind is p.VAR_POSITIONAL for p in found):
        named = {"input": inspect.Parameter("input", inspect.Parameter.POSITIONAL_ONLY)}
    return named


def _is_open(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _return_type(function: Any) -> Any:
    with contextlib.suppress(Exception):  # a forward reference to a name that is not there
        return typing.get_type_hints(function).get("return")
    return None


def _not_a_model(model: str, value: Any) -> StepError:
    message = f"`{model}` gives a `{type(value).__name__}`, not a torch.nn.Module"
    hint = "name a Module class, a function that returns one, or an instance"
    return StepError(Diagnostic("import-failed", message, hint))


def no_input(message: str) -> StepError:
    return StepError(Diagnostic("inputs-mismatch", message, "a model takes one tensor or more"))
