"""Checks of inputs, outputs, axes and the variants that pin them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelbuild.base.catalogue import Code
from modelbuild.recipe.problems import INVALID, Problem, Route, dotted, listed, plain
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.inputs import AxisRange, InputSpec, InputValues
from modelbuild.wording.phrases import did_you_mean

LIMITS: Mapping[str, tuple[float, float]] = {
    "float16": (-65504.0, 65504.0),
    "float32": (-3.4028235e38, 3.4028235e38),
    "uint8": (0, 2**8 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}
"""The least and the greatest value of a dtype."""


def names(recipe: Recipe) -> Iterator[Problem]:
    """Names of tensors: each once, and without ``/`` where they are the recipe's to give."""
    outputs = recipe.outputs or ()
    if not recipe.model.onnx:
        every: list[tuple[Route, str]] = [(("inputs", name), name) for name in recipe.inputs]
        every += [(("outputs", i), name) for i, name in enumerate(outputs)]
        for route, name in every:
            if "/" in name:
                message = f"`{name}` cannot name a tensor: it holds `/`"
                on_key = route[0] == "inputs"
                yield Problem(route, message, "write `_` or `.` instead", on_key=on_key)
    seen: set[str] = set()
    for i, name in enumerate(outputs):
        if name in seen:
            yield Problem(("outputs", i), f"the output `{name}` is named twice", "give each its own name")
        elif name in recipe.inputs and not recipe.model.onnx:
            message = f"`{name}` names an input and an output"
            yield Problem(("outputs", i), message, "give the output another name")
        seen.add(name)


def initializers(recipe: Recipe) -> Iterator[Problem]:
    """Names of weights: where these are listed among the inputs, each once and nothing else's."""
    key = "initializer_names"
    names = recipe.initializer_names or ()
    if names and not recipe.keep_initializers_as_inputs and not recipe.model.onnx:
        message = f"`{key}` names the weights among the inputs, and they are not listed there"
        hint = "add `keep_initializers_as_inputs: true`"
        yield Problem((key,), message, hint, on_key=True, needs=(("keep_initializers_as_inputs",),))
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            yield Problem((key, i), f"`{name}` is given to two weights", "give each its own name")
        elif name in recipe.inputs or name in (recipe.outputs or ()):
            what = "an input" if name in recipe.inputs else "an output"
            yield Problem((key, i), f"`{name}` names {what} and a weight", "give the weight another name")
        seen.add(name)


def axes(recipe: Recipe) -> Iterator[Problem]:
    """Every axis declared, used, and with its sizes in order."""
    for name, sizes in recipe.dynamic_axes.items():
        yield from order(sizes, ("dynamic_axes", name))
    used = set()
    for name, spec in recipe.inputs.items():
        for i, axis in enumerate(spec.shape):
            if isinstance(axis, int):
                continue
            used.add(axis)
            if axis not in recipe.dynamic_axes:
                declare = f"add `{axis}: {{min: 1, opt: 4, max: 8}}` to `dynamic_axes`"
                hint = did_you_mean(axis, recipe.dynamic_axes, declare)
                message = f"the axis `{axis}` is not declared in `dynamic_axes`"
                needs = (("dynamic_axes", axis),)
                yield Problem(("inputs", name, "shape", i), message, hint, needs=needs)
    shapes: Route = ("inputs", "*", "shape")
    for axis in recipe.dynamic_axes:
        if axis not in used:
            at: Route = ("dynamic_axes", axis)
            message = f"no input's shape uses the axis `{axis}`"
            hint = "use it in a shape, or remove it"
            yield Problem(at, message, hint, on_key=True, needs=(shapes,))


def values(recipe: Recipe) -> Iterator[Problem]:
    """What inputs are filled with: one way, which suits the dtype."""
    for name, spec in recipe.inputs.items():
        if spec.values is not None:
            route = ("inputs", name, "values")
            yield from _of_one_kind(spec.values, route)
            yield from _of_its_dtype(spec, spec.values, route)


def _of_one_kind(values: InputValues, route: Route) -> Iterator[Problem]:
    given = tuple(values.model_dump(exclude_none=True))
    kinds = ({"low", "high"}, {"mean", "std"}, {"constant"})
    name = dotted(route)
    if set(given) in kinds:
        if values.low is not None and values.high is not None and values.low >= values.high:
            message = f"`{name}`: low must be below high, which is not reached"
            hint = "`{constant: v}` is one value everywhere"
            yield Problem((*route, "high"), message, hint, needs=((*route, "low"),))
        return
    needs = tuple((*route, k) for kind in kinds for k in kind)
    missing = [sorted(k - set(given))[0] for k in kinds if set(given) < k and len(given) == 1]
    if missing:
        message = f"`{name}` has `{given[0]}` and no `{missing[0]}`"
        yield Problem(route, message, f"add `{missing[0]}`", needs=needs)
    else:
        have = f"mixes {listed(given)}" if given else "is empty"
        hint = "one of {low, high}, {mean, std} and {constant}"
        yield Problem(route, f"`{name}` {have}", hint, needs=needs)


def _of_its_dtype(spec: InputSpec, values: InputValues, route: Route) -> Iterator[Problem]:
    needs = ((*route[:-1], "dtype"),)
    whole = "int" in spec.dtype
    for key, number in values.model_dump(exclude_none=True).items():
        at = (*route, key)
        name, dtype = f"`{dotted(at)}`", f"dtype {spec.dtype}"
        if spec.dtype == "bool" and key != "constant":
            hint = "bools are drawn from false and true; `{constant: 1}` is true everywhere"
            yield Problem(at, f"{name} does not suit {dtype}", hint, on_key=True, needs=needs)
        elif spec.dtype == "bool" and number not in (0, 1):
            yield Problem(at, f"{name} must be 0 or 1 for {dtype}", "1 is true", needs=needs)
        elif whole and key in ("mean", "std"):
            hint = "use `{low, high}`"
            yield Problem(at, f"{name} does not suit {dtype}", hint, on_key=True, needs=needs)
        elif whole and not number.is_integer():
            message = f"{name} must be a whole number for {dtype}, not `{number}`"
            yield Problem(at, message, f"write `{number:.0f}`", needs=needs)
        elif spec.dtype in LIMITS and key != "std":
            low, high = LIMITS[spec.dtype]
            high += whole and key == "high"  # it is not reached
            if not low <= number <= high:
                message = f"{name} must be from {plain(low)} to {plain(high)} for {dtype}"
                yield Problem(at, message, "choose another dtype, or values in range", needs=needs)


def static(recipe: Recipe) -> Iterator[Problem]:
    """Variants pin axes that there are, to sizes in range, each once."""
    seen: dict[frozenset[tuple[str, int]], int] = {}
    for i, variant in enumerate(recipe.static):
        route: Route = ("static", i)
        first = seen.setdefault(frozenset(variant.items()), i)
        if not variant:
            message = f"`{dotted(route)}` pins no axis"
            yield Problem(route, message, "remove it: the dynamic model is always built")
        elif first != i:
            message = f"`{dotted(route)}` is the same variant as `static[{first}]`"
            yield Problem(route, message, "remove it", needs=(("static", first),))
        for name, size in variant.items():
            yield from _pinned(recipe.dynamic_axes, name, size, (*route, name))


def _pinned(axes: Mapping[str, AxisRange], name: str, size: int, route: Route) -> Iterator[Problem]:
    needs: tuple[Route, ...] = (("dynamic_axes", name),)
    if name not in axes:
        hint = did_you_mean(name, axes, there_are(axes))
        message = f"`{name}` is none of the `dynamic_axes`"
        yield Problem(route, message, hint, on_key=True, needs=needs)
    elif not axes[name].min <= size <= axes[name].max:
        within = f"{axes[name].min} to {axes[name].max}"
        message = f"`{dotted(route)}` is {size}, outside {within} of `dynamic_axes.{name}`"
        yield Problem(route, message, "change the size, or the axis's range", needs=needs)


def there_are(axes: Mapping[str, AxisRange]) -> str:
    """The hint for an axis that is none of ``axes``."""
    return f"there are {listed(axes)}" if axes else "the recipe declares no dynamic axes"


def order(sizes: AxisRange, route: Route, code: Code = INVALID) -> Iterator[Problem]:
    """min <= opt <= max."""
    pairs = (("min", "max", "min"), ("min", "opt", "opt"), ("opt", "max", "opt"))
    for low, high, at in pairs:
        a, b = getattr(sizes, low), getattr(sizes, high)
        if a > b:
            message = f"`{dotted(route)}`: {low} {a} is above {high} {b}"
            needs = ((*route, low), (*route, high))
            yield Problem((*route, at), message, "min <= opt <= max", code, needs=needs)
            return
