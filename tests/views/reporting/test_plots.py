"""The plots as data: every number that was measured is in them, and where it should be."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from modelbuild.views.reporting import plots, ranges
from modelbuild.views.reporting.page import render
from modelbuild.views.reporting.values import ShownModel, ShownRange
from tests.views.reporting.samples import HOSTILE, artifact, hostile, model, parity, tensors


def points(spec: dict[str, Any] | None) -> list[dict[str, Any]]:
    assert spec is not None
    rows: list[dict[str, Any]] = spec["data"]["values"]
    return rows


def test_every_output_at_every_shape_has_a_point() -> None:
    rows = points(plots.errors(model()))
    assert {(r["artifact"], r["output"], r["shape"]) for r in rows} == {
        (a, o, f"batch {b}") for a in ("fp32", "fp16") for o in "yz" for b in (1, 2, 8)
    }
    of = {(r["artifact"], r["output"]): (r["headroom"], r["told"], r["error"], r["verdict"]) for r in rows}
    assert of["fp32", "y"] == (1000.0, "x1,000", "relative_l2 1.0e-05 of 0.01", "within")
    assert of["fp16", "y"] == (4.0, "x4", "relative_l2 0.0025 of 0.01", "within")
    assert of["fp16", "z"] == (0.5, "x0.5", "relative_l2 0.02 of 0.01", "beyond")


def test_what_is_exact_and_what_is_not_finite_stand_at_the_edges_and_say_so() -> None:
    rows = [("y", {"batch": 1}, 1.7976931348623157e308), ("y", {"batch": 2}, 0.0), ("y", {"batch": 3}, 100.0)]
    spec = plots.errors(
        ShownModel("net", "net.yaml", "failed", [artifact("net.fp16.onnx", parity=parity(*rows))])
    )
    exact, broken, plain = points(spec)
    assert (exact["told"], exact["error"], exact["verdict"]) == ("exact", "equal", "within")
    assert (broken["told"], broken["error"], broken["verdict"]) == ("x0", "not finite", "beyond")
    assert broken["headroom"] < 1 < plain["headroom"] == 100.0 < exact["headroom"]
    low, high = spec["layer"][2]["encoding"]["x"]["scale"]["domain"]  # type: ignore[index]
    assert low < broken["headroom"]
    assert exact["headroom"] < high


def test_the_axis_of_headrooms_has_round_numbers_and_the_one_that_decides() -> None:
    rows = [("y", {"batch": 1}, 1e-6), ("y", {"batch": 2}, 1e11)]
    made = ShownModel("net", "net.yaml", "failed", [artifact("net.fp16.onnx", parity=parity(*rows))])
    for spec in (plots.errors(made), plots.errors(model())):
        values = spec["layer"][2]["encoding"]["x"]["axis"]["values"]  # type: ignore[index]
        assert 1.0 in values
        assert 2 < len(values) <= 8
        assert all(math.log10(v) == round(math.log10(v)) for v in values)


def test_shapes_of_several_axes_are_told_apart_by_their_sizes() -> None:
    rows = [("y", {"batch": b, "height": 224, "width": w}, 2.0) for b, w in ((1, 224), (1, 320), (8, 224))]
    made = ShownModel("net", "net.yaml", "ok", [artifact("net.fp16.onnx", parity=parity(*rows))])
    shown = points(plots.errors(made))
    assert [r["at"] for r in shown] == ["fp16 · 1×224×224", "fp16 · 1×224×320", "fp16 · 8×224×224"]
    assert shown[1]["shape"] == "batch 1, height 224, width 320"
    assert "Shapes are batch × height × width." in render([made])
    assert "Shapes are" not in render([model()])


def test_of_very_many_shapes_the_worst_are_drawn() -> None:
    rows = [("y", {"batch": n}, 1000.0 / n) for n in range(1, 500)]
    made = ShownModel("net", "net.yaml", "ok", [artifact("net.fp16.onnx", parity=parity(*rows))])
    shown = points(plots.errors(made))
    assert len(shown) == 120
    assert min(r["headroom"] for r in shown) == pytest.approx(1000 / 499)
    assert max(r["headroom"] for r in shown) == pytest.approx(1000 / 380)


def test_the_histogram_is_of_the_elements_that_differ() -> None:
    rows = [r for r in points(plots.spread(model(), "y")) if r["artifact"] == "fp16"]
    assert [(r["from"], r["to"], r["count"]) for r in rows] == [
        (2.0**-12, 2.0**-11, 1),
        (2.0**-11, 2.0**-10, 5),
        (2.0**-10, 2.0**-9, 2),
    ]
    assert sum(r["share"] for r in rows) == 1


def test_a_tensor_is_judged_by_what_half_precision_makes_of_it() -> None:
    numbered = list(enumerate(tensors(6), 1))
    rows = points(ranges.plot(numbered, "fp16"))
    assert [r["fate"] for r in rows] == ["overflows", "partly zero", "kept in fp32", "fits", "fits", "fits"]
    assert (rows[0]["tensor"], rows[0]["node"], rows[0]["source"]) == (
        "tensor_0", "tensor_node_0", "net.py:12 in forward",
    )  # fmt: skip


@pytest.mark.parametrize(("precision", "limit"), [("fp16", 65504.0), ("bf16", 3.3895313892515355e38)])
def test_the_line_of_overflow_is_in_the_picture(precision: str, limit: float) -> None:
    spec = ranges.plot(list(enumerate(tensors(6), 1)), precision)
    assert spec is not None
    lines = [part["data"]["values"][0] for part in spec["layer"] if "data" in part]
    assert lines[0] == {"at": limit, "text": f"{limit:.6g}: overflows above"}
    low, high = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    zero = min(line["at"] for line in lines)
    # What is written above the highest line and below the lowest, 11 px high, is inside the picture.
    pixels = spec["height"] / math.log10(high / low)
    assert math.log10(high / limit) * pixels > 14
    assert math.log10(zero / low) * pixels > 14


def test_tensors_that_are_zero_throughout_have_no_place_on_a_logarithmic_axis() -> None:
    zero = tensors(4)[3].model_copy(update={"largest": 0.0, "mean": 0.0})
    assert ranges.plot([(1, zero)], "fp16") is None


def test_sizes_leave_out_what_was_not_made() -> None:
    assert [(r["name"], r["text"]) for r in points(plots.sizes(model()))] == [
        ("fp32", "50.0 MiB"),
        ("fp16", "50.0 MiB"),
    ]


def test_costs_are_told_per_step() -> None:
    rows = points(plots.costs(model().actions, "peak"))
    assert [r["action"] for r in rows] == [a.id for a in model().actions]
    assert {r["text"] for r in rows} == {"300.0 MiB"}
    assert {r["action"]: r["kind"] for r in rows}["verify fp16"] == "proves"


def test_numbers_beyond_all_bounds_are_still_json() -> None:
    huge = ShownRange(node="n", op_type="Mul", tensor="t", largest=1.7e308, mean=1e-320, overflows=1, zeros=0,
                 nonfinite=0, elements=1)  # fmt: skip
    json.dumps(ranges.plot([(1, huge)], "bf16"), allow_nan=False)


def test_names_are_data_and_never_part_of_a_field_or_an_expression() -> None:
    made = hostile()
    numbered = list(enumerate(made.ranges["fp16"].rows, 1))
    specs = [plots.sizes(made), plots.errors(made), plots.spread(made, HOSTILE),
             plots.costs(made.actions, "peak"), ranges.plot(numbered, "fp16")]  # fmt: skip

    def places(value: Any, at: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
        if isinstance(value, dict):
            return {p for k, v in value.items() for p in places(v, (*at, k))}
        if isinstance(value, list):
            return {p for v in value for p in places(v, at)}
        return {at} if isinstance(value, str) and "script" in value else set()

    found = {p[-2] if p[-1] == "domain" else p[0] for spec in specs for p in places(spec)}
    assert None not in specs
    assert found == {"data", "scale"}
