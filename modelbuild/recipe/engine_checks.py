"""Checks of engines, their profiles, and the names of what is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from modelbuild.recipe.input_checks import order, there_are
from modelbuild.recipe.problems import Problem, Route, dotted
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.engines import Engine
from modelbuild.recipe.schema.inputs import AxisRange
from modelbuild.wording.phrases import did_you_mean

PROFILE: Final = "profile-invalid"
LONGEST_NAME = 200
"""Bytes in a file's name; file systems take 255, and ``.data`` and temporary names come on top."""


def engines(recipe: Recipe) -> Iterator[Problem]:
    """Each engine against the precisions, variants and axes of the recipe."""
    present = recipe.precision.names
    variants = {frozenset(variant.items()) for variant in ({}, *recipe.static)}
    for i, engine in enumerate(recipe.engines):
        route: Route = ("engines", i)
        if engine.precision not in present:
            message = f"`{engine.precision}` is none of the recipe's precisions"
            hint = f"add `{engine.precision}:` to `precision`"
            needs: tuple[Route, ...] = (("precision",),)
            yield Problem((*route, "precision"), message, hint, needs=needs)
        if frozenset(engine.variant.items()) not in variants:
            message = f"`{dotted((*route, 'variant'))}` is none of `static`"
            wanted = ", ".join(f"{k}: {v}" for k, v in list(engine.variant.items())[:5])
            yield Problem(
                (*route, "variant"),
                message,
                f"add `{{{wanted}}}` to `static`",
                needs=(("static",),),
            )
        if engine.targets and engine.backend != "tensorrt-rtx":
            message = "`targets` is for tensorrt-rtx; tensorrt builds for the GPU that is there"
            needs = ((*route, "backend"),)
            yield Problem((*route, "targets"), message, "remove it", on_key=True, needs=needs)
        yield from _profiles(recipe, engine, route)


def _profiles(recipe: Recipe, engine: Engine, engine_route: Route) -> Iterator[Problem]:
    seen: dict[frozenset[tuple[str, AxisRange]], int] = {}
    for i, profile in enumerate(engine.profiles or ()):
        route: Route = (*engine_route, "profiles", i)
        first = seen.setdefault(frozenset(profile.items()), i)
        if first != i:
            message = f"`{dotted(route)}` is the same profile as `profiles[{first}]`"
            needs = ((*route[:-1], first),)
            yield Problem(route, message, "remove it", PROFILE, needs=needs)
        for name, sizes in profile.items():
            yield from _axis_of_profile(recipe, engine, name, sizes, (*route, name))


def _axis_of_profile(
    recipe: Recipe, engine: Engine, name: str, sizes: AxisRange, route: Route
) -> Iterator[Problem]:
    needs: tuple[Route, ...] = (("dynamic_axes", name),)
    axes = recipe.dynamic_axes
    if name not in axes:
        hint = did_you_mean(name, axes, there_are(axes))
        if name in recipe.inputs:
            hint = "a profile is written by axis, not by input"
        message = f"the profile's axis `{name}` is none of the `dynamic_axes`"
        yield Problem(route, message, hint, PROFILE, on_key=True, needs=needs)
        return
    if name in engine.variant:
        message = f"the axis `{name}` is pinned by the engine's variant"
        hint = "remove it from the profile"
        needs = ((*route[:2], "variant"),)
        yield Problem(route, message, hint, PROFILE, on_key=True, needs=needs)
        return
    disordered = list(order(sizes, route, PROFILE))
    yield from disordered
    limits = axes[name]
    if not disordered and (sizes.min < limits.min or sizes.max > limits.max):
        end = "min" if sizes.min < limits.min else "max"
        message = (
            f"`{dotted(route)}` is {sizes.min} to {sizes.max}, "
            f"outside {limits.min} to {limits.max} of `dynamic_axes.{name}`"
        )
        hint = "narrow the profile, or widen the axis"
        yield Problem((*route, end), message, hint, PROFILE, needs=needs)


def artifact_names(recipe: Recipe) -> Iterator[Problem]:
    """No two artifacts under one name, also where a disk does not tell ``A`` from ``a``."""
    axes: Route = ("dynamic_axes",)
    suffixes: dict[str, int] = {}
    for i, variant in enumerate(recipe.static):
        suffix = recipe.variant_suffix(variant)
        first = suffixes.setdefault(suffix.casefold(), i)
        if suffix and first != i and recipe.static[first] != variant:
            message = f"`static[{i}]` and `static[{first}]` would both be called `{suffix}`"
            yield Problem(("static", i), message, "rename an axis", needs=(("static", first), axes))
        longest = f"{recipe.name}.fp16.{suffix}.tensorrt-rtx.engine"
        if len(longest) > LONGEST_NAME:
            message = f"the file name of `static[{i}]` is longer than {LONGEST_NAME} characters"
            yield Problem(("static", i), message, "shorten `name`, or pin fewer axes", needs=(axes,))
    names: dict[tuple[str, ...], int] = {}
    for i, engine in enumerate(recipe.engines):
        suffix = recipe.variant_suffix(engine.variant)
        parts = (recipe.name, engine.precision, suffix, engine.backend)
        first = names.setdefault(tuple(part.casefold() for part in parts), i)
        if first == i:
            continue
        needs = (("engines", first), ("static",), axes)
        if recipe.engines[first] == engine:
            message = f"`engines[{i}]` is the same engine as `engines[{first}]`"
            yield Problem(("engines", i), message, "remove it", needs=needs)
        elif recipe.engines[first].variant == engine.variant:
            called = ".".join(part for part in (*parts, "engine") if part)
            message = f"`engines[{i}]` and `engines[{first}]` would both be called `{called}`"
            hint = "give one engine several `profiles`, or name another precision or variant"
            yield Problem(("engines", i), message, hint, needs=needs)
