"""What a reviewer wants to be told of a change: where it proves less, takes less, or gives less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelbuild.base.catalogue import Code
from modelbuild.base.errors import Diagnostic
from modelbuild.base.tolerance import DEFAULTS
from modelbuild.changes.review.differences import engine_name
from modelbuild.recipe.differing import inline
from modelbuild.recipe.problems import clean, listed
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.engines import Engine
from modelbuild.recipe.schema.precisions import Int8
from modelbuild.recipe.schema.proofs import Bounds

WEAKENED: Final = "proof-weakened"
NARROWED: Final = "range-narrowed"
INTERFACE: Final = "interface-changed"
DROPPED: Final = "artifact-dropped"
UNGUARDED: Final = "precision-unguarded"

_HINTS = {
    WEAKENED: "ask why; the report and the lock file say how large the error is",
    NARROWED: "whoever runs the model at other sizes can no longer do so",
    INTERFACE: "whoever runs the model has to be changed with it",
    DROPPED: "whoever takes the file will keep an old one, or find none",
    UNGUARDED: "ask why; what was kept in fp32 or in range is left to the conversion",
}

Sizes = Mapping[str, tuple[int, int]]  # axis -> the smallest and the largest


@dataclass(frozen=True)
class _Risk:
    code: Code
    said: str


def risks(old: Recipe, new: Recipe, published: Sizes, where: str) -> tuple[Diagnostic, ...]:
    """Warnings. ``published`` are sizes at which artifacts that are in use were proven."""
    found = [
        *_proof(old, new), *_tolerances(old, new), *_axes(old, new, published), *_interface(old, new),
        *_guards(old, new), *_artifacts(old, new), *_engines(old, new),
    ]  # fmt: skip
    return tuple(Diagnostic(r.code, r.said, _HINTS[r.code], where, "warning") for r in found)


def dropped(old: Recipe, where: str) -> Diagnostic:
    """A recipe that is no more."""
    return Diagnostic(DROPPED, f"the recipe `{old.name}` is gone", _HINTS[DROPPED], where, "warning")


def _gone(old: Iterable[str], new: Iterable[str]) -> list[str]:
    kept = set(new)
    return [name for name in old if name not in kept]


def _proof(old: Recipe, new: Recipe) -> Iterator[_Risk]:
    was, now = old.verify, new.verify
    if now.samples < was.samples:
        yield _Risk(WEAKENED, f"fewer random inputs: verify.samples {was.samples} -> {now.samples}")
    if was.function and not now.function:
        yield _Risk(WEAKENED, f"verify.function `{clean(was.function)}` is gone")
    if gone := _gone(was.data, now.data):
        yield _Risk(WEAKENED, f"real inputs are gone: verify.data {listed(gone)}")
    if was.seed != now.seed:
        said = f"other random inputs: verify.seed {was.seed} -> {now.seed}; one can be sought until it passes"
        yield _Risk(WEAKENED, said)


def _tolerances(old: Recipe, new: Recipe) -> Iterator[_Risk]:
    for precision in new.precision.names:
        was, now = getattr(old.precision, precision), getattr(new.precision, precision)
        if was is None:
            continue
        yield from _loosened(precision, was.tolerance, now.tolerance, precision)
        before, after = was.tolerance.outputs or {}, now.tolerance.outputs or {}
        for name in {**before, **after}:
            which = f"{precision} `{clean(name)}`"
            yield from _loosened(
                precision, before.get(name, was.tolerance), after.get(name, now.tolerance), which
            )


def _loosened(precision: str, old: Bounds, new: Bounds, which: str) -> Iterator[_Risk]:
    spare = DEFAULTS[precision].mismatch if new.model_fields_set else None
    for bound, value in old.named().items():
        if said := _looser(bound, value, new, spare):
            yield _Risk(WEAKENED, f"a tolerance is loosened: {which} {bound} {said}")
    if new.conditioning is not None and old.conditioning is None:
        yield _Risk(
            WEAKENED, f"a tolerance is loosened: {which} conditioning not asked -> {new.conditioning:g}"
        )


def _looser(bound: str, old: float, tolerance: Bounds, spare: float | None) -> str | None:
    new = getattr(tolerance, bound)
    if new is None and bound == "conditioning":
        return None
    if new is None and bound == "mismatch":
        new = spare
    if new is None:
        return f"{old:g} -> not asked"
    loosened = new < old if bound in ("cosine", "sqnr") else new > old
    return f"{old:g} -> {new:g}" if loosened else None


def _axes(old: Recipe, new: Recipe, published: Sizes) -> Iterator[_Risk]:
    for name, was in old.dynamic_axes.items():
        now = new.dynamic_axes.get(name)
        smallest, largest = published.get(name, (was.min, was.max))
        low, high = min(was.min, smallest), max(was.max, largest)
        if now is None:
            yield _Risk(NARROWED, f"the axis `{name}` ({low}..{high}) is no longer dynamic")
        elif now.min > low or now.max < high:
            said = f"the axis `{name}` takes {now.min}..{now.max}, and what is published takes {low}..{high}"
            yield _Risk(NARROWED, said)


def _interface(old: Recipe, new: Recipe) -> Iterator[_Risk]:
    yield from _names("inputs", list(old.inputs), list(new.inputs))
    yield from _names("outputs", old.outputs, new.outputs)
    for name, was in old.inputs.items():
        now = new.inputs.get(name)
        if now is None:
            continue
        if was.dtype != now.dtype:
            yield _Risk(INTERFACE, f"the input `{clean(name)}` is {now.dtype}, and was {was.dtype}")
        if was.shape != now.shape:
            shapes = [inline(list(spec.shape)) for spec in (was, now)]
            yield _Risk(INTERFACE, f"the input `{clean(name)}` has another shape: {shapes[0]} -> {shapes[1]}")
    if old.name != new.name:
        yield _Risk(INTERFACE, f"every file has another name: {old.name}.* -> {new.name}.*")
    opsets = [r.opset if r.model.onnx else r.effective_opset for r in (old, new)]
    if opsets[0] and opsets[1] and opsets[1] < opsets[0]:
        yield _Risk(INTERFACE, f"the opset is lowered: {opsets[0]} -> {opsets[1]}")
    for precision, now_knobs in new.precision.reduced.items():
        knobs = old.precision.reduced.get(precision)
        if knobs is not None and knobs.keep_io_types != now_knobs.keep_io_types:
            own = now_knobs.base if isinstance(now_knobs, Int8) else precision
            kept = "stay float32" if now_knobs.keep_io_types else f"are {own}, and were float32"
            yield _Risk(INTERFACE, f"{precision}: floating point inputs and outputs {kept}")


def _names(what: str, old: Sequence[str] | None, new: Sequence[str] | None) -> Iterator[_Risk]:
    if old is None or new is None or list(old) == list(new):
        if (old is None) != (new is None):
            yield _Risk(INTERFACE, f"the {what} are {'the exporter’s' if new is None else 'named'} now")
        return
    if sorted(old) == sorted(new):
        yield _Risk(INTERFACE, f"the {what} are in another order: {listed(old)} -> {listed(new)}")
        return
    gone, come = _gone(old, new), _gone(new, old)
    if gone and len(old) == len(new):
        yield _Risk(INTERFACE, f"{what} are renamed: {listed(gone)} -> {listed(come)}")
    elif gone:
        yield _Risk(INTERFACE, f"{what} are gone: {listed(gone)}")
    elif list(new[: len(old)]) != list(old) or what == "inputs":
        yield _Risk(INTERFACE, f"{what} come in between: {listed(come)}")


def _guards(old: Recipe, new: Recipe) -> Iterator[_Risk]:
    for precision, now in new.precision.reduced.items():
        was = old.precision.reduced.get(precision)
        if was is None:
            continue
        for what in ("node_block_list", "op_block_list"):
            before, after = getattr(was, what), getattr(now, what)
            gone = _gone(before or (), after or ())
            if gone and after is not None:
                kept = "out of int8" if precision == "int8" else "in fp32"
                yield _Risk(UNGUARDED, f"{precision}: no longer kept {kept}: {what} without {listed(gone)}")
            elif before is None and after is not None and what == "op_block_list":
                said = f"{precision}: op_block_list {inline(list(after))} takes the place of the default list"
                yield _Risk(UNGUARDED, said)
            elif before and after is None:
                said = f"the default list takes the place of op_block_list {inline(list(before))}"
                yield _Risk(UNGUARDED, f"{precision}: {said}")
        most = [getattr(knobs, "max_finite_val", None) for knobs in (was, now)]
        if most[0] is not None and most[1] is not None and most[1] > most[0]:
            yield _Risk(UNGUARDED, f"{precision}: max_finite_val is raised: {most[0]:g} -> {most[1]:g}")


def _artifacts(old: Recipe, new: Recipe) -> Iterator[_Risk]:
    if gone := [p for p in old.precision.names if p not in new.precision.names]:
        yield _Risk(DROPPED, f"no longer built: {', '.join(gone)}")
    if lost := [sizes for sizes in old.static if sizes not in new.static]:
        yield _Risk(DROPPED, f"static variants are gone: {', '.join(map(inline, lost))}")


def _engines(old: Recipe, new: Recipe) -> Iterator[_Risk]:
    now = {engine_name(e, new): e for e in new.engines}
    for engine in old.engines:
        name = engine_name(engine, old)
        if name not in now:
            yield _Risk(DROPPED, f"the engine {name} is gone")
            continue
        if gone := [t for t in engine.targets if now[name].targets and t not in now[name].targets]:
            yield _Risk(DROPPED, f"the engine {name} is no longer built for {', '.join(gone)}")
        if engine.profiles or now[name].profiles:  # else it takes what the axes take
            yield from _profiles(name, _ranges(engine, old), _ranges(now[name], new))


def _ranges(engine: Engine, recipe: Recipe) -> list[dict[str, tuple[int, int]]]:
    """The sizes that each profile of an engine takes, by axis."""
    whole: dict[str, Any] = {n: r for n, r in recipe.dynamic_axes.items() if n not in engine.variant}
    profiles = engine.profiles or ({},)
    return [{n: (r.min, r.max) for n, r in {**whole, **profile}.items()} for profile in profiles]


def _profiles(name: str, old: Sequence[Sizes], new: Sequence[Sizes]) -> Iterator[_Risk]:
    if len(new) < len(old):
        yield _Risk(DROPPED, f"the engine {name} has {len(new)} of {len(old)} profiles")
    lost = [was for was in old if not any(_holds(now, was) for now in new)]
    for was in lost:
        words = ", ".join(f"{axis} {low}..{high}" for axis, (low, high) in was.items())
        yield _Risk(NARROWED, f"no profile of the engine {name} takes {words} any more")


def _holds(now: Sizes, was: Sizes) -> bool:
    return all(
        axis in now and now[axis][0] <= low and now[axis][1] >= high for axis, (low, high) in was.items()
    )
