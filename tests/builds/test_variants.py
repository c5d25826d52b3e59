"""Static files of models that cannot be dynamic."""

from __future__ import annotations

import json
import re

import numpy as np
import onnx
import pytest
import torch

from modelbuild.graph.runtime import session_of_file
from tests.conftest import Project

NETS = """\
import torch
from torch import nn


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(6, 3)

    def forward(self, x):
        return torch.stack([self.f(row) for row in x])


class OfFour(Loop):
    def forward(self, x):
        return self.f(x.view(4, 6))
"""

RECIPE = """\
model: {import: "nets:%s"}
inputs: {x: {shape: [batch, 6]}}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
static: [{batch: 1}, {batch: 4}, {batch: 8}]
verify: {samples: 2}
"""


@pytest.fixture
def nets(project: Project) -> Project:
    project.write("nets.py", NETS)
    project.write("loop.yaml", RECIPE % "Loop" + "precision: {fp32: {}, fp16: {method: auto}}\n")
    project.write("of_four.yaml", RECIPE % "OfFour")
    return project


def _off(project: Project, name: str, batch: int) -> float:
    """How far a published file is from the model in PyTorch, whose batch it must have."""
    path = project.output(name)
    (given,) = onnx.load(str(path)).graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [batch, 6]
    torch.manual_seed(0)
    linear = torch.nn.Linear(6, 3)
    x = np.random.default_rng(batch).normal(size=(batch, 6)).astype("float32")
    (got,) = session_of_file(path).run(None, {"x": x})
    want = linear(torch.from_numpy(x)).detach().numpy()
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@pytest.mark.slow
def test_a_baked_batch_gives_a_file_of_each_size_and_no_dynamic_one(nets: Project) -> None:
    built = nets.build(recipe="loop.yaml")
    assert built.code == 1
    assert built.statuses == {
        "loop.fp32.onnx": "failed", "loop.fp16.onnx": "blocked",
        **{f"loop.{p}.batch{n}.onnx": "built" for n in (1, 4, 8) for p in ("fp32", "fp16")},
    }  # fmt: skip
    assert [d["code"] for d in built.diagnostics] == ["variants-exported", "baked-axis"]
    assert built.said("variants-exported").endswith("each at its own sizes: batch1, batch4, batch8")
    for batch in (1, 4, 8):
        assert _off(nets, f"loop.fp32.batch{batch}.onnx", batch) < 1e-5
        assert _off(nets, f"loop.fp16.batch{batch}.onnx", batch) < 1e-2
        row = built.artifacts[f"loop.fp16.batch{batch}.onnx"]
        assert row["static_by"] == "export"
        assert row["parity"]["shapes"] == [{"batch": batch}]
    assert not nets.output("loop.fp32.onnx").exists()
    manifest = json.loads((nets.folder / "build/loop/manifest.json").read_text())
    made = {a["id"]: a for a in manifest["actions"]}
    assert made["export"]["status"] == "failed"
    assert made["fp32.batch4"]["needs"] == {"model": "export fp32.batch4"}

    again = nets.build(recipe="loop.yaml")
    assert (again.code, again.diagnostics) == (1, built.diagnostics)
    assert set(again.statuses.values()) == {"failed", "blocked", "cached"}
    assert not re.search(r"never built|: model", again.stderr)  # nothing was run, nor the model made
    why = nets.run("why", "loop.fp16.onnx", "loop.yaml").stdout
    assert re.search(r"^loop.fp16.onnx is failed\n  export  axis `batch` of input `x` is fixed at 2", why)
    alone = nets.build("--only", "*.batch*", recipe="loop.yaml")
    assert (alone.code, set(alone.statuses.values())) == (0, {"cached"})


def test_a_size_that_pytorch_takes_is_proven_although_it_refuses_others(nets: Project) -> None:
    built = nets.build(recipe="of_four.yaml")
    assert built.code == 1
    assert {n: s for n, s in built.statuses.items() if "batch" in n} == {
        "of_four.fp32.batch1.onnx": "blocked", "of_four.fp32.batch4.onnx": "built",
        "of_four.fp32.batch8.onnx": "blocked",
    }  # fmt: skip
    assert "the model itself fails at batch=1: RuntimeError" in built.said("reference-failed")
    assert _off(nets, "of_four.fp32.batch4.onnx", 4) < 1e-5
    again = nets.build(recipe="of_four.yaml")  # an export at a size that is known to fail is not tried
    assert (again.statuses["of_four.fp32.onnx"], again.statuses["of_four.fp32.batch4.onnx"]) == (
        "blocked", "cached",
    )  # fmt: skip
    assert [d["code"] for d in again.diagnostics] == ["reference-failed", "variants-exported"]
    assert ": model" not in again.stderr
    measured = nets.run("verify", "of_four.yaml", "--format", "json")
    assert (measured.code, measured.statuses) == (0, {"of_four.fp32.batch4.onnx": "built"})
