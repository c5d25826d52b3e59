"""Which sizes an engine takes: shapes out of ranges, and what cannot be. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from modelbuild.base.errors import Diagnostic
from modelbuild.wording.phrases import did_you_mean, listed

Range = tuple[int, int, int]  # min, opt, max of an axis, in elements
AxisRanges = tuple[tuple[str, Range], ...]
Input = tuple[str, tuple[int | str, ...]]  # a name, and a shape whose strings are dynamic axes
Shape = tuple[int, ...]
ShapeRange = tuple[Shape, Shape, Shape]


def profile_shapes(inputs: Iterable[Input], profile: AxisRanges) -> dict[str, ShapeRange]:
    """Min, opt and max shape of every input."""
    ranges = dict(profile)

    def at(shape: tuple[int | str, ...], which: int) -> Shape:
        return tuple(ranges[d][which] if isinstance(d, str) else d for d in shape)

    return {name: (at(shape, 0), at(shape, 1), at(shape, 2)) for name, shape in inputs}


def profile_errors(inputs: Sequence[Input], profiles: Sequence[AxisRanges]) -> list[Diagnostic]:
    """What is wrong with the profiles, before any graph is known."""
    users: dict[str, str] = {}
    for name, shape in inputs:
        for axis in shape:
            if isinstance(axis, str):
                users.setdefault(axis, name)
    wrong = []
    if users and not profiles:
        axis, name = next(iter(users.items()))
        message = f"axis `{axis}` of input `{name}` is dynamic, and there is no profile"
        wrong.append(invalid(message, "add a profile with min, opt and max of each dynamic axis"))
    for index, profile in enumerate(profiles):
        given = dict(profile)
        for axis, (low, opt, high) in profile:
            here = f"profiles[{index}]: axis `{axis}`"
            if axis not in users:
                wrong.append(invalid(f"{here} is in no input's shape", _did_you_mean(axis, list(users))))
            elif not 1 <= low <= opt <= high:
                wrong.append(
                    invalid(
                        f"{here} has min {low}, opt {opt}, max {high}",
                        "1 <= min <= opt <= max must hold",
                    )
                )
        wrong += [
            invalid(
                f"profiles[{index}]: axis `{axis}` of input `{name}` has no range",
                f"add `{axis}: {{min: …, opt: …, max: …}}`",
            )
            for axis, name in users.items()
            if axis not in given
        ]
    return wrong


def graph_errors(inputs: Sequence[Input], graph: Mapping[str, Shape]) -> list[Diagnostic]:
    """Where the recipe's inputs are not the graph's; -1 in ``graph`` is a dynamic axis.

    An axis that is dynamic in the graph only is no error: the profile fixes it, and the engine is
    what the recipe says.
    """
    wrong = []
    recipe = dict(inputs)
    for name in recipe:
        if name not in graph:
            message = f"the recipe has input `{name}`, and the graph has not"
            wrong.append(invalid(message, _did_you_mean(name, list(graph))))
    for name, theirs in graph.items():
        ours = recipe.get(name)
        if ours is None:
            message = f"the graph has input `{name}`, and the recipe has not"
            wrong.append(invalid(message, "add it to `inputs`"))
            continue
        if len(ours) != len(theirs):
            message = (
                f"input `{name}` has {len(ours)} axes in the recipe, [{_dims(ours)}], "
                f"and {len(theirs)} in the graph, [{_dims(theirs)}]"
            )
            wrong.append(invalid(message, "write the graph's shape into `inputs`"))
            continue
        for at, (mine, dim) in enumerate(zip(ours, theirs, strict=True)):
            if dim >= 0 and mine != dim:
                said = f"dynamic (`{mine}`)" if isinstance(mine, str) else str(mine)
                message = f"input `{name}`, axis {at}: {said} in the recipe, {dim} in the graph"
                wrong.append(invalid(message, "write the graph's size into the recipe"))
    return wrong


def fitting_profile(profiles: Sequence[Mapping[str, ShapeRange]], shapes: Mapping[str, Shape]) -> int | None:
    """The index of the first profile that admits these shapes."""
    for index, profile in enumerate(profiles):
        if all(
            len(shape) == len(profile[name][0])
            and all(
                low <= n <= high
                for low, n, high in zip(profile[name][0], shape, profile[name][2], strict=True)
            )
            for name, shape in shapes.items()
        ):
            return index
    return None


def as_json(profile: Mapping[str, ShapeRange]) -> dict[str, dict[str, list[int]]]:
    return {
        name: {"min": list(low), "opt": list(opt), "max": list(high)}
        for name, (low, opt, high) in profile.items()
    }


def invalid(message: str, hint: str | None) -> Diagnostic:
    return Diagnostic("profile-invalid", message, hint)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known, f"there is {listed(known)}" if known else "there is none")


def _dims(shape: Iterable[int | str]) -> str:
    return ", ".join("?" if d == -1 else str(d) for d in shape)
