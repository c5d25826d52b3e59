"""Ways around a dynamic model that was refused, to its static variants."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from modelbuild.plan.actions import Action, Plan
from modelbuild.plan.planning import plan
from modelbuild.plan.rerouting import rerouted, road
from modelbuild.recipe.loading import parse

TEXT = """\
model: {import: "net:Net"}
inputs: {tokens: {shape: [batch, sequence], dtype: int64}}
dynamic_axes: {batch: {min: 1, opt: 2, max: 8}, sequence: {min: 4, opt: 8, max: 32}}
precision: {fp32: {}, fp16: {}}
static: [{batch: 1}, {batch: 8, sequence: 32}]
engines: [{precision: fp16, backend: tensorrt, variant: {batch: 1}}]
"""
HALF = TEXT.replace("fp16: {}", "fp16: {method: half}")
AUTO = TEXT.replace("fp16: {}", "fp16: {method: auto}")
ONNX = TEXT.replace('import: "net:Net"', "onnx: net.onnx")


def _plan(text: str = TEXT) -> Plan:
    return plan(parse(text, "net.yaml", "net"), gpu="sm89")


def _by_id(of: Plan) -> dict[str, Action]:
    return {a.id: a for a in of.actions}


def _in_order(of: Plan) -> bool:
    places = {a.id: i for i, a in enumerate(of.actions)}
    return all(places[b] < i for i, a in enumerate(of.actions) for b in a.before)


def _rows(of: Plan, action: str) -> list[dict[str, int]]:
    step: Any = _by_id(of)[action].step
    return [dict(row) for row in step.sampling.rows]


def _failing(of: Plan, **sizes: int) -> dict[str, Any]:
    """The data of a reference that PyTorch refuses wherever the axes do not have these sizes."""
    rows = _rows(of, "reference")
    return {"fails": [r for r in rows if any(r[a] != n for a, n in sizes.items())]}


def test_where_the_dynamic_export_is_refused_each_variant_is_exported_as_the_recipe_could_ask() -> None:
    auto, asked = _plan(), _plan(TEXT + "static_by: export\n")
    other = rerouted(auto, "export", {}, {"export"})
    assert _by_id(other) == _by_id(asked)
    assert other.artifacts == auto.artifacts
    assert _in_order(other)
    assert _by_id(auto) == _by_id(_plan(TEXT + "static_by: pin\n"))  # and in no other case


@pytest.mark.parametrize("text", [TEXT + "static_by: pin\n", TEXT + "static_by: export\n", ONNX])
def test_a_recipe_that_names_the_road_keeps_it_and_an_onnx_file_has_one(text: str) -> None:
    made = _plan(text)
    assert rerouted(made, "export", {}, {"export"}) == made


def test_a_refused_half_export_leaves_the_variants_of_fp32_pinned() -> None:
    other = rerouted(_plan(HALF), "export fp16", {}, {"export", "export fp16"})
    actions = _by_id(other)
    assert actions["fp16.batch1"].needs == {"model": "export fp16.batch1"}
    assert actions["fp32.batch1"].needs == {"model": "fp32"}
    assert "export fp32.batch1" not in actions
    roads = {a.name: road(other, a) for a in other.artifacts}
    assert (roads["net.fp32.batch1.onnx"], roads["net.fp16.batch1.onnx"]) == ("pin", "export")
    assert roads["net.fp32.onnx"] is None
    assert roads["net.fp16.batch1.tensorrt.engine"] == "export"


def test_a_variant_in_which_the_fixed_axis_still_varies_is_not_exported_either() -> None:
    other = rerouted(_plan(), "export", {"axes": ["sequence"]}, {"export"})
    assert {i for i in _by_id(other) if i.startswith("export")} == {"export", "export fp32.batch8-sequence32"}
    either = rerouted(_plan(), "export", {"axes": ["sequence", "batch"]}, {"export"})
    assert {i for i in _by_id(either) if i.startswith("export")} == {
        "export", "export fp32.batch1", "export fp32.batch8-sequence32",
    }  # fmt: skip


def test_what_runs_or_has_ended_is_left_alone() -> None:
    made = _plan()
    assert rerouted(made, "export", {}, {a.id for a in made.actions}) == made


def test_a_part_of_the_plan_takes_only_the_exports_that_it_needs() -> None:
    part = _plan().only(lambda a: a.name == "net.fp32.batch8-sequence32.onnx")
    other = rerouted(part, "export", {}, {"export"})
    assert {i for i in _by_id(other) if i.startswith("export")} == {"export", "export fp32.batch8-sequence32"}
    assert "export" not in other.needed()


def test_variants_at_whose_sizes_pytorch_runs_are_compared_there_alone() -> None:
    made = _plan()
    other = rerouted(made, "reference", _failing(made, batch=8), {"reference", "export", "fp32"})
    actions = _by_id(other)
    variant, mine = "batch8-sequence32", "reference batch8-sequence32"
    assert _rows(other, mine) == [{"batch": 8, "sequence": 32}]
    assert actions[f"verify fp32.{variant}"].needs == {"model": f"fp32.{variant}", "reference": mine}
    assert actions[f"fp32.{variant}"].needs == {"model": "fp32"}  # the export was not refused
    assert actions["verify fp32.batch1"].needs["reference"] == "reference"  # and stays blocked
    assert actions["verify fp32"].needs["reference"] == "reference"
    assert "reference batch1" not in actions
    assert _in_order(other)


def test_pytorch_is_run_for_no_variant_that_was_not_asked_for() -> None:
    part = _plan().only(lambda a: a.name == "net.fp32.batch1.onnx")
    other = rerouted(part, "reference", _failing(part, batch=8), {"reference"})
    assert "reference batch8-sequence32" not in _by_id(other)


def test_a_variant_with_free_axes_is_compared_at_several_of_their_sizes() -> None:
    made = _plan()
    other = rerouted(made, "reference", _failing(made, batch=1), {"reference"})
    rows = _rows(other, "reference batch1")
    assert {r["batch"] for r in rows} == {1}
    assert len({r["sequence"] for r in rows}) >= 4
    step: Any = _by_id(other)["reference batch1"].step
    assert step.sampling.pinned == {"batch": 1}


def _after_both(order: Collection[str]) -> Plan:
    made = _plan(AUTO)
    data = {"reference": _failing(made, batch=8), "export": {}}
    settled: set[str] = set()
    for refused in order:
        settled.add(refused)
        made = rerouted(made, refused, data[refused], settled)
    return made


def test_the_way_does_not_depend_on_what_is_refused_first() -> None:
    one, two = _after_both(["export", "reference"]), _after_both(["reference", "export"])
    variant = "batch8-sequence32"
    for made in (one, two):
        actions = _by_id(made)
        assert actions[f"export fp32.{variant}"].before == (f"reference {variant}",)
        assert actions[f"fp32.{variant}"].needs == {"model": f"export fp32.{variant}"}
        assert actions[f"fp16.{variant}"].needs["reference"] == f"reference {variant}"
        assert _in_order(made)
    of = [{i: a for i, a in _by_id(made).items() if a.variant == variant} for made in (one, two)]
    assert of[0] == of[1]


def test_a_half_file_that_waits_for_the_reference_is_made_anew_for_each_variant() -> None:
    made = _plan(AUTO)
    other = rerouted(made, "reference", _failing(made, batch=8), {"reference", "export"})
    search = _by_id(other)["fp16.batch8-sequence32"]
    assert search.step.kind == "mixed"
    assert search.needs == {
        "model": "fp32.batch8-sequence32", "reference": "reference batch8-sequence32",
    }  # fmt: skip


def test_an_export_at_sizes_that_pytorch_refuses_is_not_begun() -> None:
    made = _plan()
    traced: Any = _by_id(made)["export"].step
    other = rerouted(made, "reference", {"fails": [dict(traced.traced)]}, {"reference"})
    assert _by_id(other)["export"].before == ("reference",)
    begun = rerouted(made, "reference", {"fails": [dict(traced.traced)]}, {"reference", "export"})
    assert _by_id(begun)["export"].before == ()


def test_measuring_goes_around_the_reference_too() -> None:
    made = _plan(ONNX).measuring(Path("/published"))
    other = rerouted(made, "reference", _failing(made, batch=8), {"reference"})
    proof = _by_id(other)["verify fp32.batch8-sequence32"]
    assert proof.needs == {"reference": "reference batch8-sequence32"}
    assert {road(other, a) for a in other.artifacts} == {None}  # nothing is made
    assert _in_order(other)
