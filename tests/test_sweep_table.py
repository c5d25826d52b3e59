"""The table of models: what a build's answer comes to, and the page that is made of many."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parents[1] / "bench" / "sweep_table.py"


@pytest.fixture(scope="module")
def program() -> Any:
    spec = importlib.util.spec_from_file_location("sweep_table", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    program: Any, artifacts: list[dict[str, Any]], expected: tuple[str, str, int | None]
) -> None:
    row = program.judged({"recipes": [{"artifacts": artifacts}]})
    assert (row["outcome"], row["code"], row["kept"]) == expected
    assert "\n" not in row["why"]


def test_the_page_is_made_of_each_models_last_line(program: Any, tmp_path: Path) -> None:
    rows = [
        {"name": "b", "outcome": "refused", "code": "baked-axis",
         "why": "a | b" + " long" * 40, "seconds": 4.4},
        {"name": "a", "outcome": "refused", "code": "export-failed", "why": "no", "seconds": 1.0},
        {"name": "c", "outcome": "part", "code": "fp16-infeasible", "why": "w", "seconds": 2.0,
         "made": 1, "artifacts": 4, "kept": None},
        {"name": "a", "outcome": "whole", "code": "", "why": "", "seconds": 3.0, "kept": 7},
    ]  # fmt: skip
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = program.page(program.read(file).values(), {"c": "said better"})
    assert page.startswith(program.PAGE)
    lines = page.removeprefix(program.PAGE).splitlines()
    assert lines[2:6] == [
        "| all | 3 | |",
        "| whole | 1 (33 %) |  |",
        "| in part | 1 (33 %) | `fp16-infeasible` 1 |",
        "| refused | 1 (33 %) | `baked-axis` 1 |",
    ]
    assert lines[-3] == "| a | whole | 7 | 3 |"
    assert lines[-2].startswith("| b | refused: `baked-axis`, a \\| b long")
    assert lines[-2].endswith("... |  | 4 |")
    assert lines[-1] == "| c | in part, 1 of 4: `fp16-infeasible`, said better |  | 2 |"
    assert len(lines[-2]) < program.WORDS + 60


def test_only_folders_with_a_recipe_of_their_name_are_models(program: Any, tmp_path: Path) -> None:
    for name, recipe in (("b", "b.yaml"), ("a", "a.yaml"), ("other", "recipe.yaml")):
        (tmp_path / name).mkdir()
        (tmp_path / name / recipe).touch()
    assert [f.name for f in program.models(tmp_path, [])] == ["a", "b"]
    assert [f.name for f in program.models(tmp_path, ["b"])] == ["b"]
