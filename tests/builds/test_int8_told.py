"""int8: what a build says of its nodes and of what a CPU makes of the file, wherever that is shown."""

from __future__ import annotations

import json
import re
from typing import Any

import onnx
import pytest

from modelbuild.machine import instructions
from tests.builds.test_int8 import NET
from tests.conftest import Answer, Project

RECIPE = """\
model: {import: "nets:Residual"}
inputs: {x: {shape: [batch, 3, 16, 16]}}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 2, max: 4}}
verify: {samples: 3}
"""
NODES = {"Conv": 5, "Gemm": 1, "Add": 1}


def asking(project: Project, int8: str, *more: str) -> Answer:
    project.recipe(f"precision: {{fp32: {{}}, int8: {int8}}}", *more, base=RECIPE)
    return project.build()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("told"))
    made.write("nets.py", NET)
    assert asking(made, "{}").code == 0
    return made


@pytest.fixture
def nets(project: Project, built: Project) -> Project:
    project.write("nets.py", NET)
    project.take_cache(built)
    return project


def conversion(answer: Answer) -> dict[str, Any]:
    return answer.artifacts["net.int8.onnx"]["conversion"]


def operators(rows: list[dict[str, Any]]) -> dict[str, int]:
    names = [row["op_type"] for row in rows]
    return {name: names.count(name) for name in names}


# ---- of each node ---------------------------------------------------------------------------------


def test_each_int8_node_has_its_noise_the_worst_first_with_the_line_of_the_model(built: Project) -> None:
    rows = conversion(built.build())["nodes"]

    assert operators(rows) == NODES
    assert [row["sqnr"] for row in rows] == sorted(row["sqnr"] for row in rows)
    assert all(20 < row["sqnr"] < 60 and 20 < row["own"] < 60 for row in rows)
    assert set(rows[0]) == {"node", "op_type", "sqnr", "own", "source"}
    text = NET.splitlines()
    for row in rows:
        number = re.fullmatch(r"nets\.py:(\d+) in forward", row["source"])
        assert number is not None, row
        assert "self." in text[int(number[1]) - 1], row
    manifest = json.loads((built.folder / "build/net/manifest.json").read_text())
    (row,) = (a for a in manifest["artifacts"] if a["name"] == "net.int8.onnx")
    assert row["conversion"]["nodes"] == rows


@pytest.mark.parametrize("int8", ["{base: fp32}", "{method: static}"])
def test_so_it_is_around_fp32_and_without_a_search(nets: Project, int8: str) -> None:
    found = conversion(asking(nets, int8))

    assert operators(found["nodes"]) == NODES
    assert found["outside"] == ("fp32" if "fp32" in int8 else "fp16")


def test_after_a_search_it_is_of_the_nodes_that_are_still_int8(nets: Project) -> None:
    found = conversion(asking(nets, "{tolerance: {sqnr: 50}}"))

    nodes = {row["node"] for row in found["nodes"]}
    assert found["kept"]
    assert nodes.isdisjoint(found["kept"])
    assert 0 < len(nodes) < 7
    assert found["sources"].keys() == set(found["kept"])
    assert all(line.startswith("nets.py:") for line in found["sources"].values())


def test_another_tolerance_that_holds_tells_the_same(nets: Project) -> None:
    before = conversion(asking(nets, "{}"))
    assert conversion(asking(nets, "{tolerance: {sqnr: 12}}")) == before


# ---- of this machine ------------------------------------------------------------------------------


def test_what_the_int8_kernels_here_make_of_it_is_recorded(built: Project) -> None:
    runtime = conversion(built.build())["runtime"]

    assert runtime["instructions"] == list(instructions.of_int8())
    assert runtime["why"] == ("saturation" if instructions.saturates(instructions.of_int8()) else "rounding")
    assert runtime["sqnr"] is None or runtime["sqnr"] > 10


def test_inspect_tells_how_much_is_int8_and_runs_it(built: Project) -> None:
    built.build()

    answer = built.run("inspect", "build/net/net.int8.onnx", "--format", "json")

    info = json.loads(answer.stdout)
    assert info["int8"]["nodes"] == {
        "Add": {"int8": 1, "all": 2}, "Conv": {"int8": 5, "all": 5}, "Gemm": {"int8": 1, "all": 1},
    }  # fmt: skip
    assert info["int8"]["weights"]["share"] > 0.97
    assert info["int8"]["scales"] == {"channel": 6, "tensor": 0, "activations": 7}
    assert info["int8"]["kept_nodes"] == []
    assert info["int8"]["runtime"]["sizes"] == {"batch": 1}
    text = built.run("inspect", "build/net/net.int8.onnx").stdout
    assert "int8        1 of 2 Add, 5 of 5 Conv, 1 of 1 Gemm; 9" in text
    assert "scales      weights: 6 per channel; activations: 7 per tensor\n" in text
    assert re.search(r"^here        ONNX Runtime: .* computation in float", text, re.MULTILINE)
    assert re.search(r"^half        100.0% of other computing nodes \(\d+ of \d+\)", text, re.MULTILINE)


def test_inspect_names_what_stays_out_with_the_type_that_it_is_in(nets: Project) -> None:
    for base, dtype in (("fp32", "float32"), ("fp16", "float16")):
        name = next(n.name for n in onnx.load(nets_file(nets, "fp32")).graph.node if n.op_type == "Gemm")
        asking(nets, f"{{base: {base}, node_block_list: [{name}]}}")

        text = nets.run("inspect", "build/net/net.int8.onnx").stdout

        assert f"not int8    1 node in {dtype}:\n            {name} (Gemm)\n" in text
        assert "kept  " not in text


def nets_file(project: Project, precision: str) -> str:
    asking(project, "{}")
    return str(project.output(f"net.{precision}.onnx"))
