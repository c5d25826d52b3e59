"""Checks of the model's source, the exporter and the precisions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from modelbuild.recipe.problems import Problem, Route, clean, described, dotted
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.precisions import Fp16, Int8, Reduced
from modelbuild.recipe.words import IMPORT
from modelbuild.wording.phrases import did_you_mean

OPSETS = {"auto": (7, 25), "dynamo": (9, 25), "torchscript": (7, 20)}
"""What each exporter of torch 2.13 takes; past that it writes broken files without a word."""

ONNX: Route = ("model", "onnx")


def source(recipe: Recipe) -> Iterator[Problem]:
    """Exactly one of import and onnx."""
    model = recipe.model
    needs = (("model", "import"), ONNX)
    if model.import_ and model.onnx:
        message = "`model` has both `import` and `onnx`"
        hint = "keep the one that the model comes from"
        yield Problem(ONNX, message, hint, on_key=True, needs=needs)
    if not model.import_ and not model.onnx:
        hint = "`import: package.module:attribute`, or `onnx: model.onnx`"
        yield Problem(("model",), "`model` needs `import` or `onnx`", hint, needs=needs)


def only_for_import(recipe: Recipe) -> Iterator[Problem]:
    """Knobs that an ONNX source would ignore without a word."""
    if not recipe.model.onnx or recipe.model.import_:
        return
    ours = ("exporter", "constant_folding", "keep_initializers_as_inputs", "initializer_names")
    theirs = ("args", "kwargs", "weights", "files", "seed")
    routes: list[Route] = [*(("model", key) for key in theirs), *((key,) for key in ours)]
    given: set[Route] = {("model", key) for key in recipe.model.model_fields_set}
    given |= {(key,) for key in recipe.model_fields_set}
    for route in routes:
        if route in given:
            message = f"`{dotted(route)}` is for `import` and does nothing to an ONNX file"
            yield Problem(route, message, "remove it", on_key=True, needs=(ONNX,))
    if recipe.static_by == "export":
        message = "`static_by: export` exports from PyTorch, and an ONNX file is exported already"
        yield Problem(("static_by",), message, "remove it: variants are pinned from the file", needs=(ONNX,))


def nested_objects(recipe: Recipe) -> Iterator[Problem]:
    """Mappings with an `import` among the arguments: objects to make."""
    yield from _arguments(recipe.model.args, recipe.model.kwargs, ("model",))


def _arguments(args: Any, kwargs: Any, route: Route) -> Iterator[Problem]:
    if isinstance(args, list | tuple):
        yield from _objects(list(args), (*route, "args"))
    if isinstance(kwargs, dict):
        if "import" in kwargs:
            at = (*route, "kwargs", "import")
            message = f"`{dotted(at)}`: no parameter can be called `import`"
            hint = "name the argument: `kwargs: {config: {import: …}}`"
            yield Problem(at, message, hint, on_key=True)
        for key, value in kwargs.items():
            yield from _objects(value, (*route, "kwargs", key))


def _objects(value: Any, route: Route) -> Iterator[Problem]:
    if isinstance(value, dict) and "import" in value:
        yield from _object(value, route)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _objects(item, (*route, key))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _objects(item, (*route, i))


def _object(spec: Mapping[Any, Any], route: Route) -> Iterator[Problem]:
    path = spec["import"]
    name = dotted((*route, "import"))
    if not isinstance(path, str) or not re.fullmatch(IMPORT, path):
        message = f"`{name}` must be `package.module:attribute`, not {described(path)}"
        yield Problem((*route, "import"), message, "the module, a colon, and the name in it")
    for key, kind, words in (("args", list, "a list"), ("kwargs", dict, "a mapping")):
        if key in spec and not isinstance(spec[key], kind):
            message = f"`{dotted((*route, key))}` must be {words}, not {described(spec[key])}"
            yield Problem((*route, key), message, "an object is `{import, args, kwargs}`")
    for key in spec:
        if key not in ("import", "args", "kwargs"):
            message = f"unknown key `{clean(str(key))}` beside `{name}`"
            hint = did_you_mean(str(key), ("args", "kwargs"), "arguments go into `kwargs`")
            yield Problem((*route, key), message, hint, on_key=True)
    yield from _arguments(spec.get("args"), spec.get("kwargs"), route)


def opset(recipe: Recipe) -> Iterator[Problem]:
    """The opset within what the exporter writes."""
    asked = recipe.opset
    if asked is None or recipe.model.onnx:
        return
    low, high = OPSETS[recipe.exporter]
    if low <= asked <= high:
        return
    who = "the exporters write" if recipe.exporter == "auto" else f"the {recipe.exporter} exporter writes"
    message = f"{who} opset {low} to {high}, not {asked}"
    others = [name for name, (a, b) in OPSETS.items() if a <= asked <= b]
    hint = f"use {high} or lower" if asked > high else f"use {low} or higher"
    if others:
        hint = f"leave `exporter` out: auto takes the one that writes opset {asked}"
    yield Problem(("opset",), message, hint, "opset-mismatch", needs=(("exporter",), ONNX))


def precisions(recipe: Recipe) -> Iterator[Problem]:
    """Those that are there, and what their knobs say about each other."""
    route: Route = ("precision",)
    if not recipe.precision.names:
        needs = tuple((*route, name) for name in ("fp32", "fp16", "bf16", "int8"))
        yield Problem(route, "`precision` names no precision", "add `fp32:`", needs=needs)
    yield from _tolerances(recipe)
    for name, knobs in recipe.precision.reduced.items():
        if isinstance(knobs, Reduced):
            yield from _method(recipe, (*route, name), knobs)
        if isinstance(knobs, Fp16):
            yield from _bounds((*route, name), knobs)
        if isinstance(knobs, Int8):
            yield from _quantized((*route, name), knobs)


def _tolerances(recipe: Recipe) -> Iterator[Problem]:
    for name in recipe.precision.names:
        at = ("precision", name, "tolerance")
        tolerance = getattr(recipe.precision, name).tolerance
        if not tolerance.named() and not tolerance.outputs and not recipe.verify.function:
            yield Problem(
                at, "`tolerance: {}` bounds nothing, and there is no `verify.function` to decide",
                "leave `tolerance` out for the defaults, or name a function",
            )  # fmt: skip
        own = [(at, tolerance), *(((*at, "outputs", o), b) for o, b in (tolerance.outputs or {}).items())]
        for where, bounds in own:
            if bounds.conditioning is not None and (name != "fp32" or recipe.model.onnx):
                what = "there is none" if recipe.model.onnx else f"{name} rounds far more than that"
                yield Problem(
                    (*where, "conditioning"),
                    f"`conditioning` measures PyTorch's own error in float32: {what}",
                    "it is for `fp32` of a PyTorch model; widen another bound here",
                    on_key=True,
                )
        for output in tolerance.outputs or ():
            if recipe.outputs is not None and output not in recipe.outputs:
                yield Problem(
                    (*at, "outputs", output), f"`{output}` is none of the recipe's `outputs`",
                    f"name one of {', '.join(recipe.outputs)}", on_key=True,
                )  # fmt: skip


def _method(recipe: Recipe, route: Route, half: Reduced) -> Iterator[Problem]:
    method = (*route, "method")
    if half.method in ("half", "autocast"):
        if recipe.model.onnx:
            message = f"`method: {half.method}` needs a PyTorch model, and `model.onnx` is none"
            yield Problem(method, message, "use auto, mixed or convert", needs=(ONNX,))
        for key in ("op_block_list", "node_block_list"):
            if getattr(half, key):
                at = (*route, key)
                message = f"`{dotted(at)}` does nothing with `method: {half.method}`"
                hint = "it is for `convert`, `mixed` and `auto`"
                yield Problem(at, message, hint, on_key=True, needs=(method,))


def _quantized(route: Route, int8: Int8) -> Iterator[Problem]:
    if set(int8.op_types) <= set(int8.op_block_list):
        at = (*route, "op_block_list")
        message = f"`{dotted(at)}` blocks all of `op_types`, so nothing would be int8"
        hint = "block fewer operators, or leave `int8` out"
        yield Problem(at, message, hint, needs=((*route, "op_types"),))


def _bounds(route: Route, half: Fp16) -> Iterator[Problem]:
    if half.min_positive_val >= half.max_finite_val:
        at = (*route, "min_positive_val")
        message = f"`{dotted(at)}` is not below `max_finite_val`"
        hint = "their defaults are 1e-7 and 65504"
        yield Problem(at, message, hint, needs=((*route, "max_finite_val"),))
