"""Who may keep something from one call of forward() to the next, outside of the model's modules.

Their classes, and what is the user's own: Python modules, the classes and functions in them (attributes,
closures and default arguments), and plain objects of such classes.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import BuiltinFunctionType, CellType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from modelbuild.trace import places

if TYPE_CHECKING:
    import torch

_CACHED = functools._lru_cache_wrapper
_CODE = (ModuleType, type, FunctionType, BuiltinFunctionType, staticmethod, classmethod, property, _CACHED)


@dataclass(frozen=True)
class Owner:
    """Something with attributes, and what it keeps in them; ``title`` is what it is called."""

    title: str
    thing: Any
    before: dict[str, Any]

    @classmethod
    def of(cls, thing: Any, name: str | None = None) -> Owner:
        return cls(title(thing) if name is None else name, thing, kept_in(thing))

    def now(self) -> dict[str, Any]:
        return kept_in(self.thing)

    def restore(self) -> None:
        now = self.now()
        for key in now.keys() - self.before.keys():
            if isinstance(self.thing, type):
                delattr(self.thing, key)
            else:
                vars(self.thing).pop(key, None)
        for key, value in self.before.items():
            if key not in now or now[key] is not value:
                self.put(key, value)

    def put(self, key: str, value: Any) -> None:
        cells = _cells(self.thing) if isinstance(self.thing, FunctionType) else {}
        if key in cells:
            cells[key].cell_contents = value
        elif isinstance(self.thing, type):
            setattr(self.thing, key, value)
        else:
            vars(self.thing)[key] = value


def is_cache(thing: Any) -> bool:
    """Whether it is a function under functools.cache."""
    return isinstance(thing, _CACHED)


def kept_in(thing: Any) -> dict[str, Any]:
    """The attributes of a class, a Python module, a function or an object that are data."""
    found = dict(vars(thing))
    if isinstance(thing, FunctionType):
        found |= {n: cell.cell_contents for n, cell in _cells(thing).items()}
        found |= _defaults(thing)
    return {k: v for k, v in found.items() if not k.startswith("__") and not isinstance(v, _CODE)}


def own_modules() -> frozenset[str]:
    """The Python modules that are the user's own, by name."""
    others = _others()
    found = set()
    for name, python in list(sys.modules.items()):
        file = getattr(python, "__file__", None)
        if isinstance(file, str) and os.path.isabs(file) and not file.startswith(others):
            found.add(name)
    return frozenset(found)


def around(module: torch.nn.Module, known: frozenset[str]) -> Iterator[Any]:
    """The Python modules of these names, what is in them, and the classes of the model's modules."""
    for name in sorted(known):
        python = sys.modules[name]
        if isinstance(python, ModuleType):
            yield python
            yield from _inside(python, known)
    types = dict.fromkeys(type(part) for part in module.modules())
    for kind in dict.fromkeys(c for t in types for c in t.__mro__):
        if kind.__module__ in known:
            yield kind
            yield from _inside(kind, known)
        elif kind.__module__.partition(".")[0] not in ("torch", "builtins"):
            yield kind


def title(thing: Any) -> str:
    """``net``, ``net.Net`` or ``net.Net.forward``."""
    if isinstance(thing, ModuleType):
        return thing.__name__
    return f"{thing.__module__}.{thing.__qualname__}".replace(".<locals>", "")


@functools.cache
def _others() -> tuple[str, ...]:
    return (*places.installed(), *places.own(), *places.system())


def _inside(owner: Any, known: frozenset[str], depth: int = 0) -> Iterator[Any]:
    """Its functions and classes, and what is in them."""
    for value in list(vars(owner).values()):
        if isinstance(value, type):
            if depth < 8 and value.__module__ in known and value is not owner:
                yield value
                yield from _inside(value, known, depth + 1)
        else:
            yield from _functions(value, known, set())


def _functions(value: Any, known: frozenset[str], seen: set[int]) -> Iterator[Any]:
    """The function that this is or wraps, and those that it encloses."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, _CACHED):
        yield value
    if isinstance(value, staticmethod | classmethod | _CACHED):
        value = value.__wrapped__
    elif isinstance(value, property):
        value = value.fget
    if isinstance(value, FunctionType) and value.__module__ in known:
        yield value
        for cell in _cells(value).values():
            yield from _functions(cell.cell_contents, known, seen)


def _cells(function: FunctionType) -> dict[str, CellType]:
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    return {n: c for n, c in cells.items() if c != CellType()}  # one that nothing was put into yet


def _defaults(function: FunctionType) -> dict[str, Any]:
    given, count = function.__defaults__ or (), function.__code__.co_argcount
    positional = function.__code__.co_varnames[count - len(given) : count]
    return {**dict(zip(positional, given, strict=False)), **(function.__kwdefaults__ or {})}
