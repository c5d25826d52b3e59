"""What a search kept in fp32, put into the recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modelbuild.base.results import ArtifactResult, RecipeResult
from modelbuild.building.writing_back import loaded, written_back
from modelbuild.recipe.loading import load

RECIPE = """\
model: {import: "net:Net"}
inputs: {x: {shape: [batch, 6]}}
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
precision:
  fp32:
  fp16: {method: auto, node_block_list: [first]}
static: [{batch: 1}, {batch: 4}, {batch: 8}]
"""


def _artifact(status: str, batch: int, kept: Sequence[str]) -> ArtifactResult:
    conversion = {"method": "mixed", "kept": list(kept)}
    return ArtifactResult(f"net.fp16.batch{batch}.onnx", "onnx", "fp16", {"batch": batch}, status,
                          conversion=conversion)  # fmt: skip


def test_what_several_variants_keep_is_written_down_together(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(RECIPE)
    artifacts = (
        _artifact("built", 1, ["a"]), _artifact("cached", 4, ["b", "a"]), _artifact("failed", 8, ["c"]),
    )  # fmt: skip
    result = written_back(load(path), RecipeResult(str(path), "net", "ok", (), artifacts), loaded([path]))
    assert load(path).precision.reduced["fp16"].node_block_list == ("first", "a", "b")
    assert [d.code for d in result.diagnostics] == ["recipe-updated"]
    assert "now names 3 nodes" in result.diagnostics[0].message
