"""int8: what a build makes of a recipe that asks for it, what it proves, and what it says."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest

from tests.conftest import Answer, Project

NET = """\
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return torch.relu(x + self.second(torch.relu(self.first(x))))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(self.blocks(torch.relu(self.stem(x))).mean((2, 3)))


class Loud(Residual):
    # What is far beyond float16 in the middle is of order one at the end.
    def forward(self, x):
        big = self.blocks(torch.relu(self.stem(x))) * 1e6
        return self.head((big / (1 + big.square().mean((1, 2, 3), keepdim=True).sqrt())).mean((2, 3)))


class Sum(nn.Module):
    def forward(self, x):
        return torch.tanh(x).sum((1, 2, 3))


def never(reference, candidate):
    return False


def agree(reference, candidate):
    return bool((reference[0].argmax(-1) == candidate[0].argmax(-1)).all())
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Answer]:
    """A project whose int8 file is built, and what its build said."""
    made = Project(tmp_path_factory.mktemp("built"))
    made.write("nets.py", NET)
    answer = _build(made, "")
    assert answer.code == 0
    return made, answer


@pytest.fixture
def built(first: tuple[Project, Answer]) -> Project:
    """The others begin with its cache, and export nothing."""
    return first[0]


@pytest.fixture
def nets(project: Project, built: Project) -> Project:
    project.write("nets.py", NET)
    project.take_cache(built)
    return project


def _build(
    project: Project,
    int8: str,
    *more: str,
    model: str = "Residual",
    most: int = 4,
    flags: tuple[str, ...] = (),
) -> Answer:
    base = (
        f'model: {{import: "nets:{model}"}}\ninputs: {{x: {{shape: [batch, 3, 16, 16]}}}}\noutputs: [y]\n'
        f"dynamic_axes: {{batch: {{min: 1, opt: 2, max: {most}}}}}\n"
    )
    lines = list(more)
    if not any(line.startswith("verify") for line in lines):
        lines.append("verify: {samples: 3}")
    project.recipe(f"precision:\n  int8: {int8}", *lines, base=base)
    return project.build(*flags)


def _model(project: Project, name: str = "net.int8.onnx") -> onnx.ModelProto:
    return onnx.load(str(project.output(name)))


def _operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def _floats_of_scales(model: onnx.ModelProto) -> set[int]:
    scales = {n.input[1] for n in model.graph.node if n.op_type.endswith("quantizeLinear")}
    scales |= {n.input[1] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    return {t.data_type for t in model.graph.initializer if t.name in scales}


def _int8(answer: Answer) -> dict[str, Any]:
    return answer.artifacts["net.int8.onnx"]


def _codes(answer: Answer) -> dict[str, str]:
    return {d["code"]: d["message"] for d in answer.diagnostics}


def _ran(answer: Answer) -> set[str]:
    """The actions that a build started: each is told with its reason."""
    return set(re.findall(r"^\[\d+/\d+\] net\.yaml: (.+?) \(", answer.stderr, re.MULTILINE))


# ---- what is built --------------------------------------------------------------------------------


def test_a_name_with_nothing_after_it_gives_a_file_whose_products_are_int8(built: Project) -> None:
    answer = built.build()
    artifact = _int8(answer)
    assert artifact["name"] == "net.int8.onnx"
    assert artifact["precision"] == "int8"
    assert artifact["parity"]["evidence"] == "int8-simulated"
    assert artifact["parity"]["outputs"]["y"]["headroom"] > 1
    model = _model(built)
    operators = _operators(model)
    # Five convolutions and a linear layer read a pair each. So do both sides of the first addition, of which
    # a convolution reads one, too; behind the second is a mean, which nobody computes in int8.
    assert operators["Conv"] == 5
    assert operators["QuantizeLinear"] == 7
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]
    assert len(weights) == 6
    assert _floats_of_scales(model) == {onnx.TensorProto.FLOAT16}


def test_what_a_build_did_for_int8_is_told(first: tuple[Project, Answer]) -> None:
    said = _codes(first[1])
    assert said["opset-mismatch"] == ("raised from opset 18 to 19: int8 with fp16 around it needs opset 19")
    assert "random inputs" in said["int8-unproven"]


def test_around_it_may_be_fp32(nets: Project) -> None:
    answer = _build(nets, "{base: fp32}")
    assert answer.code == 0
    assert "opset-mismatch" not in _codes(answer)
    model = _model(nets)
    assert _floats_of_scales(model) == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.FLOAT16 not in {t.data_type for t in model.graph.initializer}


def test_inputs_and_outputs_may_be_of_the_base(nets: Project) -> None:
    assert _build(nets, "{keep_io_types: false}").code == 0
    graph = _model(nets).graph
    types = {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
    assert types == {onnx.TensorProto.FLOAT16}


def test_a_variant_is_int8_as_the_dynamic_file_is(nets: Project) -> None:
    answer = _build(nets, "", "static: [{batch: 2}]")
    assert answer.statuses == {"net.int8.onnx": "cached", "net.int8.batch2.onnx": "built"}
    dynamic, pinned = _operators(_model(nets)), _operators(_model(nets, "net.int8.batch2.onnx"))
    for op_type in ("Conv", "Gemm", "QuantizeLinear", "DequantizeLinear"):
        assert pinned[op_type] == dynamic[op_type]


def test_it_has_to_hold_where_only_a_variant_is_proven(nets: Project) -> None:
    answer = _build(nets, "", "static: [{batch: 13}]", most=17)
    assert answer.code == 0, answer.diagnostics
    assert {"batch": 13} not in _int8(answer)["parity"]["shapes"]
    assert answer.artifacts["net.int8.batch13.onnx"]["parity"]["shapes"] == [{"batch": 13}]


def test_an_engine_is_built_from_it(nets: Project) -> None:
    pytest.importorskip("tensorrt_rtx")
    answer = _build(nets, "", "engines: [{precision: int8}]")
    assert answer.code == 0
    assert nets.output("net.int8.tensorrt-rtx.engine").stat().st_size > 0


# ---- what stays out -------------------------------------------------------------------------------


def test_what_a_recipe_blocks_stays_out(nets: Project) -> None:
    assert _build(nets, "{op_block_list: [Gemm], node_block_list: [node_conv2d_4, nobody]}").code == 0
    model = _model(nets)
    made = {name: node for node in model.graph.node for name in node.output}
    int8 = {
        node.op_type + node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm") and made[node.input[0]].op_type == "DequantizeLinear"
    }
    assert int8 == {"Convnode_conv2d", "Convnode_conv2d_1", "Convnode_conv2d_2", "Convnode_conv2d_3"}


def test_a_name_that_no_node_has_is_told(nets: Project) -> None:
    said = _codes(_build(nets, "{node_block_list: [node_conv2d_44]}"))
    assert "the node 'node_conv2d_44', which the graph does not have" in said["recipe-invalid"]


def test_a_tolerance_that_int8_breaks_keeps_few_nodes_in_the_base(nets: Project) -> None:
    answer = _build(nets, "{tolerance: {sqnr: 50}}")
    artifact = _int8(answer)
    assert artifact["parity"]["outputs"]["y"]["sqnr"] >= 50
    kept = artifact["conversion"]["kept"]
    assert 0 < len(kept) < 5
    said = _codes(answer)["precision-fallback"]
    assert "in fp16" in said
    assert "With all in int8 the error is" in said
    assert f"`{kept[0]}`" in said
    again = _build(nets, "{tolerance: {sqnr: 50}}", flags=("--force",))
    assert _int8(again)["sha256"] == artifact["sha256"]


def test_what_was_found_is_written_back_and_not_searched_again(nets: Project) -> None:
    found = _build(nets, "{tolerance: {sqnr: 50}}", flags=("--write-back",))
    kept = _int8(found)["conversion"]["kept"]
    text = (nets.folder / "net.yaml").read_text()
    assert all(node in text for node in kept)
    again = nets.build()
    assert _int8(again)["conversion"]["kept"] == []
    assert _int8(again)["sha256"] == _int8(found)["sha256"]


def test_a_check_of_the_recipe_takes_part(nets: Project) -> None:
    answer = _build(nets, "{tolerance: {}}", "verify: {samples: 2, function: 'nets:never'}")
    assert answer.code == 3
    assert "the float32 graph breaks this tolerance, too" in _codes(answer)["int8-infeasible"]
    assert "`nets:never` says False" in _codes(answer)["parity-failed"]
    assert _build(nets, "{tolerance: {}}", "verify: {samples: 2, function: 'nets:agree'}").code == 0


def test_what_no_choice_can_hold_is_infeasible_and_says_by_how_much(nets: Project) -> None:
    answer = _build(nets, "{base: fp32, tolerance: {sqnr: 90}}")
    assert answer.code == 3
    said = _codes(answer)["int8-infeasible"]
    assert not nets.output("net.int8.onnx").exists()
    assert re.match(r"rounding the weights to int8 alone gives \S+ times the error that sqnr 90 allows", said)
    assert re.search(r"most of it comes from `\S+weight` \(\d+%\)", said)
    assert "all 7 nodes that round would have to stay in fp32" in said


def test_what_its_base_cannot_hold_is_infeasible_and_says_so(nets: Project) -> None:
    answer = _build(nets, "{tolerance: {sqnr: 120}}")
    assert answer.code == 3
    assert "rounding the weights to fp16 alone gives" in _codes(answer)["int8-infeasible"]


def test_static_searches_nothing(nets: Project) -> None:
    answer = _build(nets, "{method: static, tolerance: {sqnr: 50}}")
    assert answer.code == 3
    assert "against sqnr 50" in _codes(answer)["parity-failed"]


def test_a_graph_without_products_has_nothing_to_quantize(project: Project) -> None:
    project.write("nets.py", NET)
    answer = _build(project, "", model="Sum")
    assert answer.code == 3
    said = _codes(answer)["int8-infeasible"]
    assert said == "the graph has no Conv or ConvTranspose or Gemm or MatMul that can be int8"


def test_what_fp16_cannot_hold_around_it_stays_in_fp32(project: Project) -> None:
    project.write("nets.py", NET)
    answer = _build(project, "", model="Loud")
    assert answer.code == 0, answer.artifacts
    artifact = _int8(answer)
    said = _codes(answer)["precision-fallback"]
    assert "in fp32" in said
    assert "With all in fp16 values overflow" in said
    assert artifact["conversion"]["kept"] == []
    assert artifact["conversion"]["kept_fp32"]
    types = {t.data_type for t in _model(project).graph.initializer}
    assert onnx.TensorProto.INT8 in types


# ---- what is built again --------------------------------------------------------------------------


def _made(project: Project) -> dict[str, str]:
    """By action, the key of its result, as the manifest has it."""
    manifest = json.loads((project.folder / "build" / "net" / "manifest.json").read_text())
    return {row["id"]: row["key"] for row in manifest["actions"]}


def test_another_tolerance_or_list_calibrates_nothing_again(nets: Project) -> None:
    _build(nets, "")
    before = _made(nets)
    _build(nets, "{tolerance: {relative_l2: 0.09}, node_block_list: [node_conv2d]}")
    after = _made(nets)
    assert before["calibrate"] == after["calibrate"]
    assert before["int8"] != after["int8"]
    _build(nets, "{calibration: {method: mse}}")
    assert _made(nets)["calibrate"] != before["calibrate"]


def test_another_tolerance_that_holds_is_judged_by_the_record(nets: Project) -> None:
    answer = _build(nets, "{tolerance: {relative_l2: 0.09}}")
    artifact = _int8(answer)
    assert artifact["status"] == "built"
    assert _ran(answer) == set()


def _calibration(project: Project, name: str, scale: float) -> None:
    x = scale * np.random.default_rng(len(name)).normal(size=(2, 3, 16, 16))
    np.savez(project.folder / name, x=x.astype(np.float32))


def test_a_calibration_file_that_changes_comes_or_goes_calibrates_again(nets: Project) -> None:
    asked = '{calibration: {data: "own_*.npz"}}'
    _calibration(nets, "own_a.npz", 1.0)
    first = _build(nets, asked)
    assert "int8-unproven" not in _codes(first)
    key = _made(nets)["calibrate"]
    assert _ran(nets.build()) == set()
    _calibration(nets, "own_a.npz", 3.0)
    second = nets.build()
    assert "calibrate" in _ran(second)
    assert _int8(second)["sha256"] != _int8(first)["sha256"]
    changed = _made(nets)["calibrate"]
    assert changed != key
    _calibration(nets, "own_bb.npz", 9.0)
    assert "calibrate" in _ran(nets.build())
    assert _made(nets)["calibrate"] not in (key, changed)
    (nets.folder / "own_bb.npz").unlink()
    nets.build()
    assert _made(nets)["calibrate"] == changed


def test_the_bytes_are_the_same_in_another_folder(project: Project, built: Project) -> None:
    project.write("nets.py", NET)
    assert _build(project, "").code == 0
    assert project.output("net.int8.onnx").read_bytes() == built.output("net.int8.onnx").read_bytes()


def test_the_file_computes_what_its_proof_says(built: Project) -> None:
    """By the reference implementation of ONNX: no simulation of ours."""
    from onnx.reference import ReferenceEvaluator

    x = np.random.default_rng(3).normal(size=(2, 3, 16, 16)).astype(np.float32)
    (found,) = ReferenceEvaluator(_model(built)).run(None, {"x": x})
    assert np.isfinite(found).all()
