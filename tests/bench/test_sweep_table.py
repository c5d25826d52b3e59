"""The table of models: what a build's answer comes to, and the page that is made of many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import sweep_table


def _artifact(status: str, precision: str = "fp32", **more: Any) -> dict[str, Any]:
    return {"status": status, "precision": precision, "diagnostics": []} | more


KEPT = {"method": "mixed", "kept": ["a", "b", "c"]}


def _failed(precision: str = "fp32") -> dict[str, Any]:
    return _artifact("failed", precision, diagnostics=[ERROR])


ERROR = {"level": "error", "code": "baked-axis", "message": "axis `n`\nis fixed at 16"}
WARNING = {"level": "warning", "code": "value-clamped", "message": "1 value"}


@pytest.mark.parametrize(
    ("artifacts", "expected"),
    [
        ([_artifact("built"), _artifact("cached", "fp16", conversion=KEPT)], ("whole", "", 3)),
        ([_artifact("built"), _artifact("built", "fp16", diagnostics=[WARNING])], ("whole", "", 0)),
        ([_artifact("built"), _failed("fp16")], ("part", "baked-axis", None)),
        ([_failed(), _artifact("blocked", "fp16")], ("refused", "baked-axis", None)),
        ([_artifact("built"), _artifact("skipped", "fp16")], ("part", "not-built", None)),
        ([], ("refused", "not-built", None)),
    ],
    ids=["search", "warning", "one fails", "all fail", "one is skipped", "nothing"],
)  # fmt: skip
def test_a_model_is_whole_where_every_artifact_came_out(
    artifacts: list[dict[str, Any]], expected: tuple[str, str, int | None]
) -> None:
    row = sweep_table.judged({"recipes": [{"artifacts": artifacts}]})
    assert (row["outcome"], row["code"], row["kept"]) == expected
    assert "\n" not in row["why"]


def test_an_ill_conditioned_model_is_tried_with_what_its_hint_proposes_and_then_with_torchscript() -> None:
    hint = "accept it with `tolerance: {conditioning: 2}`, or compute in float64 what magnifies rounding"
    ill = [
        {"level": "error", "code": "ill-conditioned", "message": "m", "hint": h}
        for h in (hint, hint.replace("2", "4"))
    ]
    row = sweep_table.judged({"recipes": [{"artifacts": [_artifact("failed", diagnostics=ill)]}]})
    assert row["allows"] == 4
    recipe = {"name": "a", "precision": {"fp32": None, "fp16": None}}
    assert list(sweep_table.others(recipe, row["allows"])) == [
        ("conditioned",
         {"name": "a", "precision": {"fp32": {"tolerance": {"conditioning": 4.0}}, "fp16": None}}),
        ("torchscript", {**recipe, "exporter": "torchscript"}),
    ]  # fmt: skip
    assert [outcome for outcome, _ in sweep_table.others(recipe, None)] == ["torchscript"]


def test_the_page_is_made_of_each_models_last_line(tmp_path: Path) -> None:
    rows = [
        {"name": "b", "outcome": "refused", "code": "baked-axis",
         "why": "a | b" + " long" * 40, "seconds": 4.4},
        {"name": "a", "outcome": "refused", "code": "export-failed", "why": "no", "seconds": 1.0},
        {"name": "c", "outcome": "part", "code": "fp16-infeasible", "why": "w", "seconds": 2.0,
         "made": 1, "artifacts": 4, "kept": None},
        {"name": "a", "outcome": "whole", "code": "", "why": "", "seconds": 3.0, "kept": 7},
        {"name": "d", "outcome": "conditioned", "code": "ill-conditioned", "why": "w",
         "seconds": 5.0, "kept": 0},
    ]  # fmt: skip
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = sweep_table.page(sweep_table.read(file).values(), {"c": "said better", "d": "two codes"})
    assert page.startswith(sweep_table.PAGE)
    lines = page.removeprefix(sweep_table.PAGE).splitlines()
    assert lines[2:7] == [
        "| all | 4 | |",
        "| whole | 1 (25 %) |  |",
        "| whole with the `conditioning` that the error proposes | 1 (25 %) |  |",
        "| in part | 1 (25 %) | `fp16-infeasible` 1 |",
        "| refused | 1 (25 %) | `baked-axis` 1 |",
    ]
    assert lines.pop() == "| d | whole with the `conditioning` that the error proposes: two codes | 0 | 5 |"
    assert lines[-3] == "| a | whole | 7 | 3 |"
    assert lines[-2].startswith("| b | refused: `baked-axis`, a \\| b long")
    assert lines[-2].endswith("... |  | 4 |")
    assert lines[-1] == "| c | in part, 1 of 4: `fp16-infeasible`, said better |  | 2 |"
    assert len(lines[-2]) < sweep_table.WORDS + 60


def test_only_folders_with_a_recipe_of_their_name_are_models(tmp_path: Path) -> None:
    for name, recipe in (("b", "b.yaml"), ("a", "a.yaml"), ("other", "recipe.yaml")):
        (tmp_path / name).mkdir()
        (tmp_path / name / recipe).touch()
    assert [f.name for f in sweep_table.models(tmp_path, [])] == ["a", "b"]
    assert [f.name for f in sweep_table.models(tmp_path, ["b"])] == ["b"]
