"""What is known of a model without running it: its forward(), its arguments, its config."""

from __future__ import annotations

import contextlib
import inspect
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelbuild.base.errors import Diagnostic, StepError, first_line
from modelbuild.steps import forms, scripts
from modelbuild.steps.model import resolve

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Argument:
    """One under ``kwargs``. Without a ``value`` only the user knows it; ``kind`` is its annotation."""

    name: str
    value: Mapping[str, Any] | None = None
    kind: str = ""


@dataclass(frozen=True)
class Subject:
    """What can be known of a model without running it.

    ``config`` is its default config object, and ``module`` the model itself, without its weights
    where it can be made so; both where they could be made. Where ``open`` is true, forward() takes
    any number of tensors.
    """

    forward: Mapping[str, inspect.Parameter]
    arguments: tuple[Argument, ...] = ()
    notes: tuple[str, ...] = ()
    config: Any = None
    main_input: str | None = None
    module: torch.nn.Module | None = None
    open: bool = False

    @property
    def can_be_made(self) -> bool:
        """Whether nothing is needed for it that only the user knows."""
        return all(a.value is not None for a in self.arguments)

    def setting(self, *names: str) -> int | None:
        """A number in the config, or in the config of its text or vision part."""
        parts = [self.config, *(getattr(self.config, f"{p}_config", None) for p in ("text", "vision"))]
        for name in names:
            for part in parts:
                value = getattr(part, name, None)
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
        return None


def read(model: str, attribute: Any) -> Subject:
    """What the attribute is: a model, a class of models, or a function that returns one."""
    import torch

    instance = forms.as_module(attribute)
    if instance is not None:
        return _of_instance(model, instance)
    if isinstance(attribute, type) and issubclass(attribute, torch.nn.Module):
        return _of_class(model, attribute)
    if not callable(attribute):
        raise _not_a_model(model, attribute)
    return _of_function(model, attribute)


def _of_instance(model: str, module: torch.nn.Module) -> Subject:
    config, main = getattr(module, "config", None), getattr(module, "main_input_name", None)
    signature = scripts.signature(module) if scripts.is_script(module) else None
    forward = _parameters(model, module.forward, known=signature)
    main = main if main in forward else None
    takes_any = signature is None and _takes_any(module.forward)
    return Subject(forward, config=config, main_input=main, module=module, open=takes_any)


def _takes_any(forward: Any) -> bool:
    """Whether forward() is ``forward(self, *tensors)``."""
    kinds = [p.kind for p in inspect.signature(forward).parameters.values() if p.name != "self"]
    return inspect.Parameter.VAR_POSITIONAL in kinds and inspect.Parameter.POSITIONAL_OR_KEYWORD not in kinds


def _of_class(model: str, cls: type[torch.nn.Module]) -> Subject:
    forward = _parameters(model, cls.forward, bound=False)
    config_class = getattr(cls, "config_class", None)
    required = _required(cls)
    if isinstance(config_class, type) and "config" in required:
        return _of_transformers(cls, config_class, forward, required)
    arguments, notes = _placeholders(required)
    return Subject(
        forward, arguments, notes, module=None if required else _made(cls), open=_takes_any(cls.forward)
    )


def _of_transformers(
    cls: type[Any],
    config_class: type[Any],
    forward: Mapping[str, inspect.Parameter],
    required: Mapping[str, str],
) -> Subject:
    """A class whose constructor takes a config object, which its own class makes by default."""
    others, notes = _placeholders({n: kind for n, kind in required.items() if n != "config"})
    config = None
    try:
        config = config_class()
    except Exception as error:
        notes = (*notes, f"{config_class.__name__}() alone fails ({first_line(error, 80)}): give it `kwargs`")
    given: dict[str, Any] = {"import": _import_path(config_class, cls)}
    if _caches(config):
        given["kwargs"] = {"use_cache": False}  # past keys and values are no tensors
    arguments = (Argument("config", given), *others)
    main = getattr(cls, "main_input_name", None)
    module = _made(lambda: cls(config)) if config is not None and not others else None
    return Subject(forward, arguments, notes, config, main if main in forward else None, module)


def _of_function(model: str, function: Any) -> Subject:
    """A function: what it is annotated to return, or what it returns if it needs no argument."""
    import torch

    required = _required(function)
    arguments, notes = _placeholders(required)
    owner = getattr(function, "__self__", None)  # Net.from_name, a class method
    promised = owner if isinstance(owner, type) else _return_type(function)
    if not required:
        made = _made(function) or resolve({"import": model})
        module = forms.as_module(made)
        if module is None:
            raise _not_a_model(model, made)
        return _of_instance(model, module)
    if (
        isinstance(promised, type)
        and issubclass(promised, torch.nn.Module)
        and promised is not torch.nn.Module
    ):
        forward = _parameters(model, promised.forward, bound=False)
        return Subject(forward, arguments, notes)
    guess = inspect.Parameter("input", inspect.Parameter.POSITIONAL_ONLY)
    unknown = f"`{model}` needs arguments, so forward() could not be read: the inputs are a pure guess"
    return Subject({"input": guess}, arguments, (*notes, unknown))


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


def _required(function: Any) -> dict[str, str]:
    """The parameters that a call must give, with their annotations as text."""
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: _annotation(p) for p in found if p.default is p.empty and not _is_open(p)}


def _annotation(parameter: inspect.Parameter) -> str:
    kind = parameter.annotation
    if kind is parameter.empty:
        return ""
    return " ".join((kind if isinstance(kind, str) else inspect.formatannotation(kind)).split())[:60]


def _is_open(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _placeholders(required: Mapping[str, str]) -> tuple[tuple[Argument, ...], tuple[str, ...]]:
    notes = ("the values under `kwargs` must be filled in before it builds",) if required else ()
    return tuple(Argument(n, kind=kind) for n, kind in required.items()), notes


def _return_type(function: Any) -> Any:
    with contextlib.suppress(Exception):  # a forward reference to a name that is not there
        return typing.get_type_hints(function).get("return")
    return None


def _import_path(config_class: type[Any], cls: type[Any]) -> str:
    """Where a config class is imported from: its package, if it is offered there."""
    package, name = config_class.__module__.partition(".")[0], config_class.__qualname__
    for module in (package, cls.__module__):
        if getattr(sys.modules.get(module), name, None) is config_class:
            return f"{module}:{name}"
    return f"{config_class.__module__}:{name}"


def _caches(config: Any) -> bool:
    """Whether the model returns its keys and values by default, as a decoder does."""
    encoder = getattr(config, "is_decoder", None) is False
    return bool(getattr(config, "use_cache", False)) and not (
        encoder and not getattr(config, "is_encoder_decoder", False)
    )


def _not_a_model(model: str, value: Any) -> StepError:
    message = f"`{model}` gives a `{type(value).__name__}`, not a torch.nn.Module"
    hint = "name a Module class, a function that returns one, or an instance"
    return StepError(Diagnostic("import-failed", message, hint))


def no_input(message: str) -> StepError:
    return StepError(Diagnostic("inputs-mismatch", message, "a model takes one tensor or more"))
