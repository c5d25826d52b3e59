"""Inputs unlike the traced ones, within what a recipe says of its inputs' values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from modelbuild.base.tensors import Sizes, TensorSpec, Values
from modelbuild.steps.samples import Array, random_inputs

_SEEDS = 4
_MOST_ALONE = 4  # inputs that are moved while the others stay


def variations(specs: Sequence[TensorSpec], sizes: Sizes) -> Iterator[tuple[str, dict[str, Array]]]:
    """Other inputs of these sizes, each with what it is in words; ordinary ones first.

    A number whose range the recipe does not say may be anything; one whose range it says stays inside.
    """
    if all(s.values.constant is not None for s in specs):
        return
    for i in range(_SEEDS):
        yield "other random values", random_inputs(specs, sizes, (0, 6, i))
    traced = random_inputs(specs, sizes, (0, 1))
    ways = {s.name: dict(_ways(s, sizes)) for s in specs}
    titles = list(dict.fromkeys(t for found in ways.values() for t in found))
    for title in titles:
        yield title, {n: ways[n].get(title, array) for n, array in traced.items()}
    if len(specs) > 1:
        for spec in [s for s in specs if ways[s.name]][:_MOST_ALONE]:
            for title, array in ways[spec.name].items():
                yield f"{title} in `{spec.name}` alone", {**traced, spec.name: array}


def _ways(spec: TensorSpec, sizes: Sizes) -> Iterator[tuple[str, Array]]:
    values = spec.values
    if values.constant is not None:
        return
    whole = np.dtype(spec.dtype).kind in "iub"
    if values.low is None and whole:
        values = Values(low=0, high=2)
    for i, (title, other) in enumerate(_within(values, whole)):
        found = random_inputs([replace(spec, values=other)], sizes, (0, 7, i))[spec.name]
        yield title, found
    if values.low is None:
        found = random_inputs([spec], sizes, (0, 8))[spec.name]
        mean = np.asarray(values.mean or 0, found.dtype)
        yield "values above the mean alone", mean + np.abs(found - mean)
        yield "values below the mean alone", mean - np.abs(found - mean)
        if values.mean is None and values.std is None:
            yield "zeros", np.zeros_like(found)


def _within(values: Values, whole: bool) -> Iterator[tuple[str, Values]]:
    """Parts of what these values can be."""
    if values.low is None or values.high is None:
        mean, std = values.mean or 0.0, 1.0 if values.std is None else values.std
        free = values.mean is None and values.std is None
        for factor in (0.01, 10, 100) if free else (0.1, 3):
            yield f"values times {factor}", Values(mean=mean, std=std * factor)
        return
    low, high = values.low, values.high
    last = high - 1 if whole else high
    if last <= low:
        return
    yield "the lowest value alone", Values(constant=low)
    yield "the highest value alone", Values(constant=last)
    part = max(2, (high - low) / 1000) if whole else (high - low) / 10
    if part < high - low:
        yield "low values", Values(low=low, high=low + part)
        yield "high values", Values(low=high - part, high=high)
        yield "values in the middle", Values(low=(low + high - part) / 2, high=(low + high + part) / 2)
