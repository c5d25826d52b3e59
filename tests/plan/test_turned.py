"""What moved in a recipe, told by the facts of an action: in the words of a review."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from modelbuild.plan.freshness import facts
from modelbuild.plan.planning import plan
from modelbuild.plan.turned import turned
from modelbuild.recipe.loading import parse

RECIPE = """\
model: {import: net:Net, kwargs: {width: 8}, seed: 0}
inputs: {x: {shape: [batch, 8]}, y: {shape: [batch, length]}}
dynamic_axes: {batch: {min: 1, opt: 4, max: 256}, length: {min: 2, opt: 4, max: 9}}
opset: 18
verify: {samples: 20}
precision:
  fp32:
  fp16: {method: auto, node_block_list: [node_b], tolerance: {relative_l2: 0.01}}
  int8: {base: fp16, reduce_range: false, calibration: {samples: 9, method: minmax}, tolerance: {sqnr: 25}}
engines: [{precision: fp16, backend: tensorrt-rtx, targets: [sm86], builder: {tf32: true}}]
"""


def _facts(text: str) -> dict[str, dict[str, Any]]:
    """Of each action, those that the recipe decides."""
    actions = plan(parse(text, "net.yaml", "net")).actions
    return {a.id: facts(a, {}, {}) for a in actions}


def _said(action: str, old: str, new: str) -> list[str]:
    changed = RECIPE.replace(old, new)
    assert changed != RECIPE
    return turned(_facts(RECIPE)[action], _facts(changed)[action])


@pytest.mark.parametrize(
    ("action", "old", "new", "said"),
    [
        ("export", "opset: 18", "opset: 19", "opset changed: 18 -> 19"),
        ("export", "opset: 18", "opset: 18\nexporter: dynamo", "exporter changed: auto -> dynamo"),
        ("export", "max: 256", "max: 64", "dynamic_axes.batch.max: 256 -> 64"),
        ("export", "[batch, 8]", "[batch, 9]", "inputs.x.shape: [batch, 8] -> [batch, 9]"),
        ("export", "net:Net", "net:Other", "model.import: net:Net -> net:Other"),
        ("export", "width: 8", "width: 16", "model.kwargs.width: 8 -> 16"),
        ("export", "seed: 0", "seed: 1", "model.seed: 0 -> 1"),
        ("export", "opset: 18", "opset: 18\noutputs: [z]", "outputs: the exporter's names -> [z]"),
        ("reference", "samples: 20", "samples: 3", "verify.samples: 20 -> 3"),
        ("reference", "max: 256", "max: 64", "dynamic_axes.batch.max: 256 -> 64"),
        ("fp32", "opset: 18", "opset: 18\nsimplify: false", "simplify changed: true -> false"),
        ("fp16", "[node_b]", "[node_a, node_c]",
         "precision.fp16.node_block_list: - node_b, + node_a, + node_c"),
        ("fp16", "method: auto", "method: mixed", "precision.fp16.method: auto -> mixed"),
        ("fp16", "0.01", "0.02", "precision.fp16.tolerance.relative_l2: 0.01 -> 0.02"),
        ("verify fp16", "0.01", "0.02", "precision.fp16.tolerance.relative_l2: 0.01 -> 0.02"),
        ("calibrate", "samples: 9", "samples: 7", "precision.int8.calibration.samples: 9 -> 7"),
        ("calibrate", "minmax", "mse", "precision.int8.calibration.method: minmax -> mse"),
        ("int8", "reduce_range: false", "reduce_range: true", "precision.int8.reduce_range: false -> true"),
        ("int8", "base: fp16", "base: fp32", "precision.int8.base: fp16 -> fp32"),
        ("int8", "sqnr: 25", "sqnr: 30", "precision.int8.tolerance.sqnr: 25 -> 30"),
        ("int8", "base: fp16", "node_block_list: [node_a]", "precision.int8.node_block_list: + node_a"),
        ("verify int8", "sqnr: 25", "sqnr: 30", "precision.int8.tolerance.sqnr: 25 -> 30"),
        ("fp16.tensorrt-rtx", "[sm86]", "[sm86, sm89]", "engines.fp16.tensorrt-rtx.targets: + sm89"),
        ("fp16.tensorrt-rtx", "tf32: true", "tf32: false",
         "engines.fp16.tensorrt-rtx.builder.tf32: true -> false"),
        ("fp16.tensorrt-rtx", "max: 256", "max: 64",
         "engines.fp16.tensorrt-rtx.profiles[0].batch.max: 256 -> 64"),
    ],
)  # fmt: skip
def test_a_value_that_moved_is_told_with_its_path_and_what_follows_from_it_is_not(
    action: str, old: str, new: str, said: str
) -> None:
    assert _said(action, old, new) == [said]


def test_what_only_follows_is_told_where_nothing_else_is() -> None:
    old = _facts(RECIPE)["reference"]
    new = copy.deepcopy(old)
    new["sampling"]["rows"] = new["sampling"]["rows"][:1]
    (said,) = turned(old, new)
    assert said.startswith("sampling")
    assert turned({**old, "step version": 1}, {**old, "step version": 2}) == ["step version changed: 1 -> 2"]
    assert turned(old, old) == []


@pytest.mark.parametrize("knob", ["ranges", "inputs", "sampling", "source", "profiles", "proof", "path"])
@pytest.mark.parametrize("damage", [[[1]], {"x": 3}, "x", 3, [{"x": 1}], [["batch", 1]]])
def test_a_memory_that_no_build_wrote_is_told_in_plain_words(knob: str, damage: Any) -> None:
    for action in _facts(RECIPE).values():
        assert turned({**action, knob: damage}, {**action, knob: "now"})


def test_files_that_a_pattern_matches_now_or_no_more_are_named() -> None:
    old = {**_facts(RECIPE)["calibrate"], "declared files": ["c/1.npz", "c/2.npz"]}
    new = {**old, "declared files": ["c/2.npz", *(f"d/{number}.npz" for number in range(5))]}

    assert turned(old, new) == ["d/0.npz, d/1.npz, d/2.npz and 2 more are new", "c/1.npz is gone"]
    (said,) = turned(old, {**old, "declared files": ["c/2.npz", "c/1.npz"]})
    assert said.startswith("declared files changed: ")
