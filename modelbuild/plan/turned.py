"""Which values of a recipe moved, told by the facts of an action before and now, in the recipe's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelbuild.base.keys import moved
from modelbuild.recipe.differing import Change
from modelbuild.recipe.differing import moved as differing
from modelbuild.recipe.problems import Route
from modelbuild.wording.phrases import few

Facts = Mapping[str, Any]

# Knobs with the names that they have in the recipe: at its top, of a precision, of an engine.
_TOP = ("exporter", "opset", "outputs", "constant_folding", "simplify", "keep_initializers_as_inputs",
        "initializer_names")  # fmt: skip
_PRECISION = ("method", "op_block_list", "node_block_list", "keep_io_types", "min_positive_val",
              "max_finite_val", "disable_shape_infer", "tolerance")  # fmt: skip
_SAMPLING = ("samples", "seed", "data")
_INT8 = ("op_types", "op_block_list", "node_block_list", "per_channel", "reduce_range")
_CALIBRATION: Route = ("precision", "int8", "calibration")
_ENGINE = ("backend", "profiles", "targets")
_BUILDER = ("optimization_level", "workspace", "tf32")
_FILES = "declared files"
_NAMED = 3  # files that a sentence names
# Those, the ones that are placed by hand, and what follows from others: told by itself where nothing else is.
_KNOWN = frozenset(
    (*_TOP, *_PRECISION, *_INT8, *_ENGINE, *_BUILDER, "half", "apart", "enabled", "path", "source",
     "ranges", "function", "inputs", "sampling", "proof", "model", "traced", "rows", "sizes", "filename",
     _FILES)
)  # fmt: skip


def turned(old: Facts, new: Facts) -> list[str]:
    """What the recipe has decided otherwise, in words: ``opset changed: 17 -> 18`` of a key at its top, and
    ``precision.fp16.node_block_list: + node_a`` of another. What follows from it is not told besides."""
    try:
        was, now = (_nested(dict(_placed(facts))) for facts in _comparable(old, new))
        said = [_told(change) for change in differing(was, now)]
        said += _of_files(old, new)
        said += moved(*({k: v for k, v in facts.items() if k not in _KNOWN} for facts in (old, new)))
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError):  # a memory that is damaged
        said = []
    return list(dict.fromkeys(said)) or moved(old, new)


def _of_files(old: Facts, new: Facts) -> list[str]:
    """Which files a pattern of the recipe matches now, and did not, or no more."""
    was, now = old.get(_FILES), new.get(_FILES)
    if not was or not now or was == now:
        return []
    lists = (("new", [n for n in now if n not in was]), ("gone", [n for n in was if n not in now]))
    return [
        f"{few(names, _NAMED)} {'is' if len(names) == 1 else 'are'} {what}" for what, names in lists if names
    ]


def _comparable(old: Facts, new: Facts) -> tuple[Facts, Facts]:
    """Without the knobs of a conversion that only one side has around its int8: that it has one is told."""
    if bool(old.get("half")) == bool(new.get("half")):
        return old, new
    return _bare(old), _bare(new)


def _bare(facts: Facts) -> Facts:
    half = facts.get("half")
    return {**facts, "half": {k: half[k] for k in ("dtype", "keep_io_types")}} if half else facts


def _told(change: Change) -> str:
    whole = isinstance(change.old, (dict, list)) or isinstance(change.new, (dict, list))
    if "." in change.path or whole or "->" not in change.said:
        return change.said
    return change.said.replace(":", " changed:", 1)


def _placed(facts: Facts) -> Iterator[tuple[Route, Any]]:
    """Each knob at its place in the recipe."""
    step = str(facts.get("step", ""))
    yield from (((name,), facts[name]) for name in _TOP if name in facts)
    if "enabled" in facts:
        yield ("simplify",), facts["enabled"]
    if "path" in facts:
        yield ("model", "onnx"), facts["path"]
    yield from _of_model(facts.get("source"))
    if own := _OF_STEP.get(step):
        yield from own(facts)
        return
    yield from _of_inputs(facts.get("inputs"))
    for axis, (low, high) in (facts.get("ranges") or {}).items():
        yield ("dynamic_axes", axis, "min"), low
        yield ("dynamic_axes", axis, "max"), high
    yield from _of_sampling(facts.get("sampling") or {})
    yield from _of_precision(facts)


def _of_model(source: Any) -> Iterator[tuple[Route, Any]]:
    if isinstance(source, dict):
        yield from ((("model", name.rstrip("_")), value) for name, value in source.items())


def _of_inputs(inputs: Any) -> Iterator[tuple[Route, Any]]:
    for spec in inputs or ():
        if isinstance(spec, dict):
            values = {k: v for k, v in (spec.get("values") or {}).items() if v is not None}
            for name, value in {**spec, "values": values}.items():
                if name != "name":
                    yield ("inputs", spec["name"], name), value


def _of_sampling(sampling: Facts) -> Iterator[tuple[Route, Any]]:
    yield from ((("verify", name), sampling[name]) for name in _SAMPLING if name in sampling)
    yield from _of_inputs(sampling.get("inputs"))
    for axis in sampling.get("axes", ()):
        yield from ((("dynamic_axes", axis["name"], k), v) for k, v in axis.items() if k != "name")


def _of_precision(facts: Facts) -> Iterator[tuple[Route, Any]]:
    """Of a conversion, which may hold its proof, or of a proof."""
    precision = facts.get("precision")
    if facts.get("step") == "export":
        name = facts.get("dtype")
        if precision != "fp32":
            yield ("precision", str(name), "method"), precision
            yield ("precision", str(name), "keep_io_types"), facts.get("keep_io_types")
        return
    name = precision if precision is not None else facts.get("dtype")
    yield from ((("precision", str(name), knob), facts[knob]) for knob in _PRECISION if knob in facts)
    if facts.get("function") is not None:
        yield ("verify", "function"), facts["function"]
    proof = facts.get("proof")
    if isinstance(proof, dict):
        yield from _of_inputs(proof.get("inputs"))
        yield from _of_precision(proof)


def _of_calibration(facts: Facts) -> Iterator[tuple[Route, Any]]:
    sampling = dict(facts.get("sampling") or {})
    own = [name for name in ("samples", "data") if name in sampling]
    yield from (((*_CALIBRATION, name), sampling.pop(name)) for name in own)
    yield from _of_sampling(sampling)
    yield (*_CALIBRATION, "method"), facts.get("method")
    yield ("precision", "int8", "op_types"), facts.get("op_types")
    yield ("verify", "data"), facts.get("apart")


def _of_quantization(facts: Facts) -> Iterator[tuple[Route, Any]]:
    yield from ((("precision", "int8", knob), facts[knob]) for knob in _INT8 if knob in facts)
    half, proof = facts.get("half"), facts.get("proof")
    yield ("precision", "int8", "base"), "fp32" if half is None else half["dtype"]
    yield ("precision", "int8", "method"), "static" if proof is None else "auto"
    if half is not None:  # whether edges are float32 is int8's own to say
        yield ("precision", "int8", "keep_io_types"), half["keep_io_types"]
        yield from _of_precision({k: v for k, v in half.items() if k != "keep_io_types"})
    if isinstance(proof, dict):
        yield from _of_inputs(proof.get("inputs"))
        yield from _of_precision(proof)


def _of_engine(facts: Facts) -> Iterator[tuple[Route, Any]]:
    """An engine is called as in its file's name: ``fp16.batch1.tensorrt-rtx``."""
    found = re.search(r"\.((?:fp32|fp16|bf16|int8)\..+)\.engine$", str(facts.get("filename")))
    route: Route = ("engines", found[1] if found else str(facts.get("filename")))
    yield from (((*route, name), _profiles(facts[name])) for name in _ENGINE if name in facts)
    yield from (((*route, "builder", name), facts[name]) for name in _BUILDER if name in facts)


def _profiles(value: Any) -> Any:
    """``[[["batch", [1, 8, 32]]]]`` as the recipe has it; anything else as it is."""
    try:
        return [
            {axis: dict(zip(("min", "opt", "max"), sizes, strict=True)) for axis, sizes in row}
            for row in value
        ]
    except (TypeError, ValueError):
        return value


def _nested(values: Mapping[Route, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for route, value in values.items():
        place = found
        for part in route[:-1]:
            place = place.setdefault(str(part), {})
        place[str(route[-1])] = value
    return found


_OF_STEP: Mapping[str, Callable[[Facts], Iterator[tuple[Route, Any]]]] = {
    "calibrate": _of_calibration,
    "engine": _of_engine,
    "quantize": _of_quantization,
}
"""Those whose knobs stand in places of their own."""
