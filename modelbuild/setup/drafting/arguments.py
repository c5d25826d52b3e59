"""What a model is made with: what its owner gives, config objects that nothing is needed for, and gaps."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild.base.errors import ModelbuildError, first_line
from modelbuild.recipe.problems import clean
from modelbuild.recipe.words import IMPORT
from modelbuild.steps.model import import_attribute, resolve
from modelbuild.steps.words import import_failed
from modelbuild.wording.phrases import listed, meant, nearest

_CONFIGS = ("config", "cfg")  # names of parameters whose class is known without an annotation
_FOREIGN = {*sys.stdlib_module_names, "torch", "numpy"}
"""Packages whose classes are no config of a model, though many need nothing: int() is 0, Path() is here."""


@dataclass(frozen=True)
class Argument:
    """One under ``kwargs``. Without ``known`` only the user knows its value; ``kind`` is its annotation."""

    name: str
    value: Any = None
    known: bool = True
    kind: str = ""
    note: str = ""


@dataclass(frozen=True)
class Made:
    """The arguments of a call, the config among them as an object, and notes for the reader."""

    kwargs: tuple[Argument, ...]
    config: Any = None
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing is needed that only the user knows."""
        return all(a.known for a in self.kwargs)


NOTHING = Made(())


def settle(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Made:
    """The arguments of a call of ``function``: those that are given, and what else it must be given.

    Raises:
        StepError: ``import-failed``: it takes no argument of a name that is given, or a config that is
            given cannot be made.
    """
    _refuse_unknown(function, kwargs)
    found = [Argument(name, value) for name, value in kwargs.items()]
    config = next((resolve(kwargs[name]) for name in _CONFIGS if name in kwargs), None)
    notes: list[str] = []
    for parameter in _required(function, len(args)):
        if parameter.name in kwargs:
            continue
        made = _default(function, parameter, notes)
        if made is None:
            found.append(Argument(parameter.name, known=False, kind=_annotation(parameter)))
            continue
        spec, value = made
        found.append(Argument(parameter.name, spec, note=f"{spec['import'].partition(':')[2]}'s defaults"))
        config = value if config is None else config
    if any(not a.known for a in found):
        notes.insert(0, "the values under `kwargs` must be filled in before it builds")
    return Made(tuple(found), config, tuple(notes))


def _refuse_unknown(function: Any, kwargs: Mapping[str, Any]) -> None:
    """Tell a name that a call does not take: it would only be met when all else is known."""
    parameters = _parameters(function)
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if not parameters or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    for name in kwargs:
        if name not in names:
            near = meant(nearest(name, names)) or f"it takes {listed(names)}"
            hint = "YAML wants a space behind a colon" if ":" in name else near
            of = getattr(function, "__qualname__", type(function).__name__)
            raise import_failed(f"{of}() takes no argument `{clean(name)}`", hint)


def _required(function: Any, given: int) -> list[inspect.Parameter]:
    """The parameters that a call must give, behind those that are ``given`` by position."""
    open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in _parameters(function)[given:] if p.default is p.empty and p.kind not in open_ended]


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of a builtin; an own one that has __signature__ wrong
        return []


def _annotation(parameter: inspect.Parameter) -> str:
    kind = parameter.annotation
    if kind is parameter.empty:
        return ""
    return " ".join((kind if isinstance(kind, str) else inspect.formatannotation(kind)).split())[:60]


# ---- config objects ----------------------------------------------------------------------------


def _default(
    function: Any, parameter: inspect.Parameter, notes: list[str]
) -> tuple[dict[str, Any], Any] | None:
    """What to write for a parameter that takes an object whose class needs nothing, and that object."""
    for found in _classes(function, parameter):
        path = _import_path(found, function)
        if path is None or _must_be_given(found):
            continue
        try:
            value = found()
        except Exception as error:
            notes.append(f"{found.__name__}() alone fails ({first_line(error, 80)}): give it `kwargs`")
            return {"import": path}, None
        spec: dict[str, Any] = {"import": path}
        if _caches(value):
            spec["kwargs"] = {"use_cache": False}  # past keys and values are no tensors
            value = found(use_cache=False)
        return spec, value
    return None


def _classes(function: Any, parameter: inspect.Parameter) -> Iterator[type[Any]]:
    """Classes that the parameter may be of: the model's ``config_class``, those of its annotation, and for
    ``Net(config)`` without one the ``NetConfig`` beside it."""
    if parameter.name == "config" and isinstance(known := getattr(function, "config_class", None), type):
        yield known
    hint = _hints(function).get(parameter.name, parameter.annotation)
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    yield from (part for part in parts if isinstance(part, type))
    if hint is parameter.empty and parameter.name in _CONFIGS:
        name = f"{getattr(function, '__name__', '')}Config"
        beside = getattr(sys.modules.get(function.__module__), name, None)
        if isinstance(beside, type):
            yield beside


def _hints(function: Any) -> dict[str, Any]:
    """Annotations as what they name; those that name nothing here (``TYPE_CHECKING``) are left out."""
    called: Any = vars(function).get("__init__", function) if isinstance(function, type) else function
    try:
        return typing.get_type_hints(called)
    except Exception:  # one name that is not there spoils all of them
        names = vars(sys.modules.get(getattr(called, "__module__", ""), types.SimpleNamespace()))
        written = getattr(called, "__annotations__", {})
        return {n: names.get(kind, kind) if isinstance(kind, str) else kind for n, kind in written.items()}


def _must_be_given(found: type[Any]) -> bool:
    """Whether it is no class of a config, or one that only the user can make."""
    import torch

    package = found.__module__.partition(".")[0]
    return (
        package in _FOREIGN
        or issubclass(found, torch.nn.Module)
        or typing.is_typeddict(found)
        or inspect.isabstract(found)
        or getattr(found, "_is_protocol", False)
        or bool(_required(found, 0))
    )


def _import_path(found: type[Any], function: Any) -> str | None:
    """Where a class is imported from: its package, if it is offered there. None: it cannot be."""
    package, name = found.__module__.partition(".")[0], found.__qualname__
    for module in dict.fromkeys((package, function.__module__, found.__module__)):
        path = f"{module}:{name}"
        try:
            if re.fullmatch(IMPORT, path) and import_attribute(path) is found:
                return path
        except ModelbuildError:
            continue
    return None


def _caches(config: Any) -> bool:
    """Whether the model returns its keys and values by default, as a decoder of transformers does."""
    encoder = getattr(config, "is_decoder", None) is False
    return bool(getattr(config, "use_cache", False)) and not (
        encoder and not getattr(config, "is_encoder_decoder", False)
    )
