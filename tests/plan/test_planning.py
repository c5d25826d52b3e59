"""Recipe -> actions and artifacts, without running anything."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

from modelbuild import steps
from modelbuild.base.tolerance import DEFAULTS, Tolerance
from modelbuild.plan.actions import Plan
from modelbuild.plan.planning import plan
from modelbuild.plan.precisions import FP32, Precision, precisions
from modelbuild.recipe.loading import parse
from modelbuild.steps.base import Step

TEXT = """\
model: {import: "net:Net"}
inputs: {x: {shape: [batch, sequence]}}
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}, sequence: {min: 16, opt: 64, max: 128}}
precision: {fp32: {}, fp16: {}}
static: [{batch: 1}]
engines:
  - {precision: fp16, targets: [sm89, sm86]}
  - {precision: fp16, variant: {batch: 1}}
"""


def _plan(text: str = TEXT, gpu: str | None = None) -> Plan:
    return plan(parse(text, "net.yaml", "net"), gpu=gpu)


def test_the_files_that_come_out_have_the_names_of_the_contract() -> None:
    assert [a.name for a in _plan().artifacts] == [
        "net.fp32.onnx",
        "net.fp16.onnx",
        "net.fp32.batch1.onnx",
        "net.fp16.batch1.onnx",
        "net.fp16.tensorrt-rtx.engine",
        "net.fp16.batch1.tensorrt-rtx.engine",
    ]


def _in_order(made: Plan) -> bool:
    places = {a.id: i for i, a in enumerate(made.actions)}
    return all(places[b] < i for i, a in enumerate(made.actions) for b in a.before)


def test_actions_come_after_what_they_need() -> None:
    assert _in_order(_plan(gpu="sm89"))


def test_there_is_one_export_and_one_reference_for_everything() -> None:
    kinds = [a.step.kind for a in _plan().actions]
    assert kinds.count("export") == 1
    assert kinds.count("reference") == 1


def test_half_and_autocast_are_exports_of_their_own_and_fp32_is_made_only_where_it_is_needed() -> None:
    text = TEXT.replace("fp32: {}, fp16: {}", "fp16: {method: half}")
    actions = [a.id for a in _plan(text).actions]
    assert "export fp16" in actions
    assert "export" not in actions
    converted = TEXT.replace("fp32: {}, fp16: {}", "fp16: {}")
    assert {"export", "fp32"} <= {a.id for a in _plan(converted).actions}
    assert "net.fp32.onnx" not in {a.name for a in _plan(converted).artifacts}


def test_bf16_takes_the_roads_of_fp16_with_a_type_of_its_own() -> None:
    text = TEXT.replace("fp32: {}, fp16: {}", "fp16: {}, bf16: {keep_io_types: false}").replace(
        "{precision: fp16, v", "{precision: bf16, v"
    )
    made = _plan(text)
    assert [a.name for a in made.artifacts] == [
        "net.fp16.onnx",
        "net.bf16.onnx",
        "net.fp16.batch1.onnx",
        "net.bf16.batch1.onnx",
        "net.fp16.tensorrt-rtx.engine",
        "net.bf16.batch1.tensorrt-rtx.engine",
    ]
    steps = {a.id: a.step.knobs() for a in made.actions}
    assert [steps[name]["dtype"] for name in ("fp16", "bf16")] == ["fp16", "bf16"]
    assert [steps[name]["max_finite_val"] for name in ("fp16", "bf16")] == [65504, None]
    proof = steps["verify bf16.batch1"]
    assert (proof["precision"], proof["keep_io_types"]) == ("bf16", False)
    assert proof["tolerance"]["relative_l2"] == 5e-2


def test_bf16_of_its_own_export_needs_no_fp32() -> None:
    text = TEXT.replace("fp32: {}, fp16: {}", "bf16: {method: autocast}").replace("fp16", "bf16")
    actions = {a.id: a.step.knobs() for a in _plan(text).actions}
    assert "export" not in actions
    assert {k: actions["export bf16"][k] for k in ("precision", "dtype")} == {
        "precision": "autocast",
        "dtype": "bf16",
    }


def test_an_engine_waits_for_the_proof_of_its_onnx_file() -> None:
    (engine,) = (a for a in _plan().actions if a.id == "fp16.batch1.tensorrt-rtx")
    assert engine.needs == {"model": "fp16.batch1"}
    assert engine.gates == ("verify fp16.batch1",)


def test_a_file_as_the_model_is_run_when_its_interface_is_known_to_suit_the_recipe() -> None:
    """Else both would report what is wrong with it; to measure published files, nothing is adopted."""
    planned = _plan(TEXT.replace('import: "net:Net"', "onnx: net.onnx"))
    (reference,) = (a for a in planned.actions if a.id == "reference")
    assert reference.gates == ("export",)
    measuring = planned.measuring(Path("build")).actions
    assert {i for a in measuring for i in a.before} <= {a.id for a in measuring}


def test_engines_are_proven_where_there_is_a_gpu() -> None:
    engines = [a for a in _plan(gpu="sm89").artifacts if a.kind == "engine"]
    assert [e.proof for e in engines] == [f"verify {e.action}" for e in engines]
    assert {e.proof for e in _plan().artifacts if e.kind == "engine"} == {None}


def test_an_engine_for_other_gpus_than_this_one_is_not_run() -> None:
    engines = [a.proof for a in _plan(gpu="sm120").artifacts if a.kind == "engine"]
    assert engines == [None, "verify fp16.batch1.tensorrt-rtx"]


def test_every_variant_is_compared_at_its_own_sizes_whatever_the_sampled_ones() -> None:
    text = TEXT.replace("static: [{batch: 1}]", "static: [{batch: 1}, {batch: 5, sequence: 48}]")
    (reference,) = (a for a in _plan(text).actions if a.id == "reference")
    rows = reference.step.sampling.rows  # type: ignore[attr-defined]
    assert {"batch": 5, "sequence": 48} in rows
    assert any(row["batch"] == 1 and row["sequence"] == 128 for row in rows)


def test_a_part_of_the_plan_holds_what_the_part_needs() -> None:
    part = _plan().only(lambda a: a.name == "net.fp16.batch1.onnx")
    assert [a.id for a in part.actions] == [
        "reference", "export", "fp32", "fp16", "fp16.batch1", "verify fp16.batch1",
    ]  # fmt: skip


def test_measuring_reads_the_published_files_and_builds_nothing() -> None:
    folder = Path("build/net")
    measured = _plan(gpu="sm89").measuring(folder)
    assert {a.step.kind for a in measured.actions} == {"reference", "verify", "verify engine"}
    assert {a.folders.get("model") for a in measured.actions[1:]} == {folder}


@pytest.mark.parametrize(
    ("lines", "folds"),
    [
        ("", True),
        ("simplify: false\n", True),
        ("simplify: false\nconstant_folding: false\n", False),
        ("simplify: false\nexporter: torchscript\n", False),
    ],
    ids=["simplified", "as exported", "as asked", "torchscript folds by itself"],
)
def test_constants_are_folded_without_simplification_where_no_exporter_does_it(
    lines: str, folds: bool
) -> None:
    (step,) = (a.step for a in _plan(TEXT + lines).actions if a.step.kind == "simplify")
    assert step.constant_folding == folds


def test_a_file_that_nobody_asked_to_simplify_is_not_folded_either() -> None:
    text = TEXT.replace('import: "net:Net"', "onnx: net.onnx")
    for lines, folds in (("", True), ("simplify: false\n", False)):
        (step,) = (a.step for a in _plan(text + lines).actions if a.step.kind == "simplify")
        assert step.constant_folding == folds


def test_a_conversion_needs_the_fp32_file_alone_and_a_search_pytorchs_outputs_too() -> None:
    for method, kind, needs in (
        ("convert", "half", {"model": "fp32"}),
        ("mixed", "mixed", {"model": "fp32", "reference": "reference"}),
    ):
        text = TEXT.replace("fp16: {}", f"fp16: {{method: {method}}}")
        (made,) = (a for a in _plan(text).actions if a.id == "fp16")
        assert (made.step.kind, made.needs) == (kind, needs)


def test_pytorch_alone_at_a_variants_sizes_runs_over_the_axes_that_are_left() -> None:
    (own,) = _plan().references
    assert [axis.name for axis in own.step.sampling.axes] == ["sequence"]
    assert {row["batch"] for row in own.step.sampling.rows} == {1}


def test_no_other_way_to_the_variants_is_planned_where_the_recipe_names_one() -> None:
    assert _plan(TEXT + "static_by: pin\n").exported == ()
    assert _plan(TEXT).exported != ()


def test_the_order_of_targets_is_not_a_fact() -> None:
    def targets(text: str) -> object:
        return next(a.step.knobs()["targets"] for a in _plan(text).actions if a.step.kind == "engine")

    assert targets(TEXT) == targets(TEXT.replace("[sm89, sm86]", "[sm86, sm89]"))


def test_static_variants_by_export_are_exported_each_at_its_own_sizes() -> None:
    made = _plan(TEXT + "static_by: export\n")
    actions = {a.id: a for a in made.actions}
    export = actions["export fp32.batch1"].step
    assert [s.shape for s in export.inputs] == [(1, "sequence")]  # type: ignore[attr-defined]
    assert set(export.traced) == set(export.ranges) == {"sequence"}  # type: ignore[attr-defined]
    assert actions["export fp32.batch1"].before == ("reference",)  # which says first what PyTorch refuses
    assert actions["fp32.batch1"].needs == {"model": "export fp32.batch1"}
    assert actions["fp16.batch1"].needs["model"] == "fp32.batch1"
    assert actions["fp32"].needs == {"model": "export"}
    assert made.artifacts == _plan(TEXT + "static_by: pin\n").artifacts
    assert _in_order(made)


def test_a_half_export_of_a_variant_by_export_is_one_at_its_sizes() -> None:
    text = TEXT.replace("fp16: {}", "fp16: {method: half}") + "static_by: export\n"
    actions = {a.id: a for a in _plan(text).actions}
    assert actions["fp16.batch1"].needs == {"model": "export fp16.batch1"}
    assert actions["export fp16.batch1"].step.precision == "half"  # type: ignore[attr-defined]


def test_an_action_that_several_artifacts_need_is_told_with_the_first_and_pytorchs_run_with_none() -> None:
    made = _plan()
    assert made.owned == {
        "net.fp32.onnx": ("export", "fp32", "verify fp32"),
        "net.fp16.onnx": ("fp16", "verify fp16"),
        "net.fp32.batch1.onnx": ("fp32.batch1", "verify fp32.batch1"),
        "net.fp16.batch1.onnx": ("fp16.batch1", "verify fp16.batch1"),
        "net.fp16.tensorrt-rtx.engine": ("fp16.tensorrt-rtx",),
        "net.fp16.batch1.tensorrt-rtx.engine": ("fp16.batch1.tensorrt-rtx",),
    }
    assert [a.name for a in made.of_action["verify fp16"]] == ["net.fp16.onnx"]
    assert [a.name for a in made.of_action["fp16.tensorrt-rtx"]] == ["net.fp16.tensorrt-rtx.engine"]
    assert "export" not in made.of_action


def test_what_waits_for_an_action_waits_for_it_directly_or_not() -> None:
    made = _plan()
    assert made.dependents("fp16") == (
        "verify fp16", "fp16.batch1", "verify fp16.batch1", "fp16.tensorrt-rtx", "fp16.batch1.tensorrt-rtx",
    )  # fmt: skip
    assert made.dependents("verify fp16") == ("fp16.tensorrt-rtx",)
    assert made.dependents("verify fp32") == ()


def test_the_model_is_asked_by_the_proofs_of_fp32_alone_and_so_it_is_for_engines() -> None:
    """How the model answers to small changes of its inputs is a matter of float32."""
    made = _plan(TEXT + "  - {precision: fp32}\n", gpu="sm89")
    asked = {a.step.filename: a.step.model is not None for a in made.actions if hasattr(a.step, "model")}  # type: ignore[attr-defined]
    assert asked == {
        "net.fp32.onnx": True, "net.fp16.onnx": False, "net.fp32.batch1.onnx": True,
        "net.fp16.batch1.onnx": False, "net.fp16.tensorrt-rtx.engine": False,
        "net.fp16.batch1.tensorrt-rtx.engine": False, "net.fp32.tensorrt-rtx.engine": True,
    }  # fmt: skip


@pytest.mark.parametrize(("fp16", "made"), [("{}", True), ("{method: half}", False)])
def test_a_variants_own_fp32_is_made_without_being_asked_for_where_fp16_is_converted_from_it(
    fp16: str, made: bool
) -> None:
    text = TEXT.replace("{fp32: {}, fp16: {}}", f"{{fp16: {fp16}}}") + "static_by: export\n"
    actions = {a.id for a in _plan(text).actions}
    assert ({"export fp32.batch1", "fp32.batch1"} <= actions) is made
    assert ("export fp16.batch1" in actions) is not made
    assert "verify fp32.batch1" not in actions


def test_an_engine_takes_the_whole_range_of_each_axis_that_is_left_free() -> None:
    steps = {a.id: a.step for a in _plan().actions}
    profiles = {name: steps[f"fp16{name}.tensorrt-rtx"].profiles for name in ("", ".batch1")}  # type: ignore[attr-defined]
    assert profiles == {
        "": ((("batch", (1, 4, 8)), ("sequence", (16, 64, 128))),),
        ".batch1": ((("sequence", (16, 64, 128)),),),
    }


def test_ranges_are_measured_of_half_files_and_of_no_variant_whose_tensors_are_the_same() -> None:
    text = TEXT.replace("fp32: {}, fp16: {}", "fp32: {}, fp16: {}, bf16: {}")
    made = _plan(text)
    more = [a for a in made.with_ranges().actions if a not in made.actions]
    assert {a.id: a.needs for a in more} == {
        f"ranges {name}": {"model": name, "reference": "reference"} for name in ("fp16", "bf16")
    }


def test_of_published_files_only_proofs_are_made_and_none_is_remembered() -> None:
    measuring = _plan().measuring(Path("build"))
    assert {a.step.kind: a.remembered for a in measuring.actions} == {"reference": True, "verify": False}


def test_weights_that_a_caller_can_give_are_in_every_file_of_the_recipe() -> None:
    given = _plan(TEXT + "keep_initializers_as_inputs: true\n")
    changed = {
        one.id
        for one, other in zip(given.actions, _plan().actions, strict=True)
        if one.step.knobs() != other.step.knobs()
    }
    assert {"fp32", "fp16", "fp16.batch1"} <= changed


def test_a_precision_has_the_bounds_that_hold_and_its_blocked_nodes_in_one_order() -> None:
    text = TEXT.replace(
        "precision: {fp32: {}, fp16: {}}",
        "precision: {bf16: {tolerance: {mismatch: 0.5}}, fp32: {tolerance: {rtol: 0.01}}, "
        "fp16: {method: convert, node_block_list: [b, a, b]}}",
    )
    fp32, fp16, bf16 = precisions(parse(text, "net.yaml", "net"))
    assert fp32 == Precision(name="fp32", tolerance=Tolerance(rtol=0.01, atol=0.0))
    assert (fp16.name, fp16.method, fp16.node_block_list) == ("fp16", "convert", ("a", "b"))
    assert (fp16.tolerance, fp16.op_block_list) == (DEFAULTS["fp16"], None)
    assert (fp16.min_positive_val, fp16.max_finite_val) == (1e-7, 65504.0)
    assert (bf16.min_positive_val, bf16.max_finite_val) == (None, None)
    assert bf16.tolerance == Tolerance(relative_l2=5e-2, cosine=0.99, mismatch=0.5)


@pytest.mark.parametrize(
    ("method", "exported", "search"),
    [
        (None, True, None), ("half", True, None), ("autocast", True, None),
        ("convert", False, None), ("mixed", False, "mixed"), ("auto", False, "auto"),
    ],
)  # fmt: skip
def test_how_a_precision_is_made_says_whether_it_takes_an_export_or_a_search(
    method: Any, exported: bool, search: str | None
) -> None:
    made = dataclasses.replace(FP32, method=method)
    assert (made.is_exported, made.search) == (exported, search)


def _of_ours(above: type[Step]) -> list[type[Step]]:
    below = [s for s in above.__subclasses__() if s.__module__.startswith("modelbuild.")]
    return [above, *(found for step in below for found in _of_ours(step))]


def test_a_step_takes_its_knobs_by_their_names_alone() -> None:
    """A key is made of names, and two knobs of one type are exchanged unseen."""
    for module in pkgutil.iter_modules(steps.__path__, "modelbuild.steps."):
        importlib.import_module(module.name)
    made = [step for step in _of_ours(Step) if dataclasses.fields(step)]
    assert len(made) >= 13
    by_place = [f"{s.__name__}.{f.name}" for s in made for f in dataclasses.fields(s) if not f.kw_only]
    assert by_place == []
