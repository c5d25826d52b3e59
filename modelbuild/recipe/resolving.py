"""A recipe with every default written out, each value with where it comes from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelbuild.base.escaping import line
from modelbuild.base.scalars import flow, quoted
from modelbuild.recipe.defaults import Defaults, above
from modelbuild.recipe.loading import load, source
from modelbuild.recipe.problems import Route, dotted
from modelbuild.recipe.reading import read
from modelbuild.recipe.schema import Recipe

RECIPE, DEFAULT = "recipe", "default"

_WIDEST = 60  # columns of a line before its comment, where others are as short
_FOR_CODE = (("model", "args"), ("model", "kwargs"), ("model", "files"), ("model", "seed"), ("exporter",),
             ("constant_folding",), ("keep_initializers_as_inputs",), ("initializer_names",))  # fmt: skip
_NAMED: tuple[Route, ...] = (("precision", "*", "tolerance"), ("inputs", "*", "values"))
_SHORT = (("model", "kwargs"), ("engines", "*", "variant"), *_NAMED)
_OPEN: Mapping[Route, str] = {
    ("model", "weights"): "as the model is made",
    ("inputs", "*", "values"): "normal, mean 0 and std 1",
    ("outputs",): "the exporter's names",
    ("initializer_names",): "the model's own",
    ("opset",): "the ONNX file's own",
    ("precision", "*", "op_block_list"): "onnxconverter-common's list",
    ("engines", "*", "builder", "optimization_level"): "the builder's",
    ("engines", "*", "builder", "workspace"): "the builder's",
    ("verify", "function"): "the tolerances alone",
}
"""What holds where there is nothing that a recipe could say: a comment, in the resolved one."""


@dataclass(frozen=True)
class Leaf:
    """One value at its place. ``origin`` is ``recipe``, ``default`` or the project file's path; a value
    that is left ``open`` is told in words, as a recipe has none for it."""

    route: Route
    value: Any
    origin: str
    open: bool = False


@dataclass(frozen=True)
class Resolved:
    """A recipe's values, in the order of the format."""

    where: str
    leaves: tuple[Leaf, ...]
    precision: str
    """Where the choice of precisions comes from; what they leave out may come from elsewhere."""

    def data(self) -> dict[str, Any]:
        """As a recipe's data: what its YAML says."""
        root: dict[str, Any] = {}
        for leaf in self.leaves:
            if not leaf.open:
                _put(root, leaf.route, leaf.value)
        return root

    def origins(self) -> dict[str, str]:
        """Where each value comes from, by its place: ``precision.fp16.method``."""
        every = {dotted(leaf.route): leaf.origin for leaf in self.leaves if not leaf.open}
        return {"precision": self.precision, **every}

    def text(self) -> str:
        """As YAML that is a recipe itself, with each origin in a comment."""
        lines = [
            (line, self.precision if line == "precision:" else origin) for line, origin in _lines(self.leaves)
        ]
        width = max((len(line) for line, _ in lines if len(line) <= _WIDEST), default=0)
        told = [f"{line.ljust(width)}  # {origin}" if origin else line for line, origin in lines]
        return "\n".join([f"# {line(self.where)}, with every default written out", *told])


def resolve(path: Path) -> Resolved:
    """What the recipe in a file means.

    Raises:
        RecipeError: the recipe or the project file is wrong.
    """
    recipe, defaults = load(path), above(path.parent)
    root = read(source(path)).root
    given = root.data if root else {}
    chosen = RECIPE if "precision" in given else DEFAULT if defaults.precision is None else defaults.where
    return Resolved(str(path), tuple(_leaves(recipe, given, defaults)), chosen)


def _leaves(recipe: Recipe, given: Mapping[str, Any], defaults: Defaults) -> Iterator[Leaf]:
    full, _ = defaults.fill(given)
    for route, value in _values(_plain(recipe.model_dump(by_alias=True)), ()):
        if recipe.model.onnx and route in _FOR_CODE:
            continue
        if route == ("opset",) and not recipe.model.onnx:
            value = recipe.effective_opset
        elif route[0] == "engines" and route[-1] == "profiles" and value is None:
            value = _profiles(recipe, int(route[1])) or None
        written, own = _at(full, route), _at(given, route)
        tolerance = _pattern(route) == ("precision", "*", "tolerance")
        if value is None:
            if words := _OPEN.get(_pattern(route)):
                yield Leaf(route, words, DEFAULT, open=True)
        elif written is None or (tolerance and written and all(bound is None for bound in written.values())):
            yield Leaf(route, value, DEFAULT)
        else:
            origin = RECIPE if own == written else defaults.where
            yield Leaf(route, value if tolerance else written, origin)


def _pattern(route: Route) -> Route:
    """The route with a star for a name of the user's, or a number."""
    if len(route) > 1 and route[0] in ("inputs", "precision", "engines"):
        return (route[0], "*", *route[2:])
    return route


def _profiles(recipe: Recipe, number: int) -> list[dict[str, Any]]:
    free = {a: r for a, r in recipe.dynamic_axes.items() if a not in recipe.engines[number].variant}
    return [{axis: sizes.model_dump() for axis, sizes in free.items()}] if free else []


def _values(value: Any, route: Route) -> Iterator[tuple[Route, Any]]:
    """Every value that stands in a line of its own, with its route."""
    if route == ("model", "weights") and value and list(filter(None, value.values())) == [value["file"]]:
        yield route, value["file"]
    elif isinstance(value, dict) and value and not _in_one_line(route):
        for key, inner in value.items():
            if not (route == ("precision",) and inner is None):
                yield from _values(inner, (*route, key))
    elif isinstance(value, list) and value and route in (("static",), ("engines",)):
        for i, inner in enumerate(value):
            yield from _values(inner, (*route, i))
    elif _pattern(route) in _NAMED and value is not None:
        yield route, {key: inner for key, inner in value.items() if inner is not None}
    else:
        yield route, value


def _in_one_line(route: Route) -> bool:
    """Mappings that are the user's own, or as short as an axis."""
    if len(route) == 2 and route[0] in ("static", "dynamic_axes"):
        return True
    return _pattern(route) in _SHORT


def _plain(value: Any) -> Any:
    """As YAML has it, with lists for tuples."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {key: _plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _at(data: Any, route: Route) -> Any:
    """What stands there; None where nothing does."""
    for step in route:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def _put(root: Any, route: Route, value: Any) -> None:
    for step, following in itertools.pairwise(route):
        made: Any = [] if isinstance(following, int) else {}
        if isinstance(root, list):
            if len(root) <= int(step):
                root.append(made)
            root = root[int(step)]
        else:
            root = root.setdefault(step, made)
    if isinstance(root, list):
        root.append(value)
    else:
        root[route[-1]] = value


# ---- as text -----------------------------------------------------------------------------------


def _lines(leaves: tuple[Leaf, ...]) -> Iterator[tuple[str, str]]:
    """Lines of YAML, each with its comment."""
    before: Route = ()
    dash = ""
    for leaf in leaves:
        shared = next((i for i, (a, b) in enumerate(zip(before, leaf.route, strict=False)) if a != b),
                      min(len(before), len(leaf.route)))  # fmt: skip
        for depth in range(shared, len(leaf.route)):
            step, last = leaf.route[depth], depth == len(leaf.route) - 1
            indent = "  " * depth
            if isinstance(step, int):
                if last:
                    yield f"{indent}- {flow(leaf.value)}", leaf.origin
                else:
                    dash = f"{indent}- "
                continue
            start, dash = dash or indent, ""
            if not last:
                yield f"{start}{quoted(str(step))}:", ""
            elif leaf.open:
                yield f"{indent}# {quoted(str(step))}: {leaf.value}", leaf.origin
            else:
                yield f"{start}{quoted(str(step))}: {flow(leaf.value)}", leaf.origin
        before = leaf.route
