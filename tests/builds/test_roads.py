"""Roads that a recipe can take, each to a proven file: one command builds them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from modelbuild.graph.runtime import session_of_file
from modelbuild.machine import toolchain
from tests.conftest import Answer, Project

pytestmark = pytest.mark.slow

MODELS = """\
import torch
from torch import nn


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(6, 3)

    def forward(self, x):
        return self.f(x)


class Scaled(Linear):
    def forward(self, x, scale):
        return self.f(x) * scale


class Pair(Linear):
    def forward(self, x):
        h = self.f(x)
        return x, h, h


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 8, 3, padding=1)
        self.n = nn.BatchNorm2d(8)
        self.h = nn.Linear(8, 4)

    def forward(self, image):
        return self.h(torch.relu(self.n(self.c(image / 255.0))).mean((2, 3)))


def within(reference, candidate):
    return all(abs(r - c).max() < 0.1 for r, c in zip(reference, candidate))

class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)
    def forward(self, x):
        return self.norm(self.f(x))

class KeywordOnly(Norm):
    def forward(self, x, scale=2.0, *, mask=None):
        return super().forward(x) * scale

class Wave(Linear):
    def forward(self, x):
        return torch.sin(self.f(x) * 3e4)

class OneSided(Linear):
    def forward(self, x):
        if x.amax() > 9:
            return -self.f(x)
        return self.f(x)
"""

AXES = "dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}\n"
HALF = "precision: {fp32: {}, fp16: {method: %s}}\n"


def _recipe(attribute: str, inputs: str = "{x: {shape: [batch, 6]}}", more: str = "", model: str = "") -> str:
    return f'model: {{import: "models:{attribute}"{model}}}\ninputs: {inputs}\n{AXES}' + (
        more if "verify:" in more else more + "verify: {samples: 2}\n"
    )


IMAGE = "{image: {shape: [batch, 3, 8, 8], values: {low: 0, high: 255}}}"
RECIPES = {
    "torchscript": _recipe("Linear", more="exporter: torchscript\nopset: 11\noutputs: [y]\n"),
    "scalar": _recipe("Scaled", "{x: {shape: [batch, 6]}, scale: {shape: []}}", "outputs: [y]\n"),
    "positional": _recipe("Scaled", "{a: {shape: [batch, 6]}, b: {shape: [batch, 1]}}"),
    "passthrough": _recipe("Pair", more="outputs: [same, one, two]\n" + HALF % "convert"),
    "half": _recipe("Convolution", IMAGE, HALF % "half"),
    "half_edges": _recipe("Convolution", IMAGE, HALF % "half, keep_io_types: false"),
    "autocast": _recipe("Convolution", IMAGE, HALF % "autocast"),
    "autocast_norm": _recipe("Norm", more=HALF % "autocast"),
    "bf16": _recipe(
        "Convolution", IMAGE,
        "precision: {fp32: {}, fp16: {}, bf16: {method: convert}}\nstatic: [{batch: 1}]\n"
        "engines: [{precision: bf16}, {precision: bf16, variant: {batch: 1}}]\n",
    ),
    "bf16_half": _recipe("Convolution", IMAGE, "precision: {bf16: {method: half}}\n"),
    "bf16_edges": _recipe(
        "Convolution", IMAGE,
        "precision: {bf16: {method: convert, keep_io_types: false}}\nengines: [{precision: bf16}]\n",
    ),
    "bf16_half_edges": _recipe(
        "Convolution", IMAGE,
        "exporter: torchscript\nprecision: {bf16: {method: half, keep_io_types: false}}\n",
    ),
    "bf16_autocast_norm": _recipe("Norm", more="precision: {bf16: {method: autocast}}\n"),
    "one_sided": _recipe(
        "OneSided", "{x: {shape: [batch, 6], values: {low: 0, high: 1}}}",
        "exporter: torchscript\n" + HALF % "convert",
    ),
    "conditioned": _recipe("Wave", more="precision: {fp32: {tolerance: {conditioning: 12}}}\n"),
    "keyword_only": _recipe("KeywordOnly", more="exporter: torchscript\n"),
    "plain": _recipe("Convolution", IMAGE, "simplify: false\nconstant_folding: false\n"),
    "listed": _recipe(
        "Convolution", IMAGE,
        "keep_initializers_as_inputs: true\nstatic: [{batch: 1}]\n" + HALF % "convert",
    ),
    "kept": _recipe(
        "Convolution", IMAGE, HALF % "convert, op_block_list: [Conv], keep_io_types: true"
    ),
    "weights": _recipe("Linear", model=", weights: linear.safetensors"),
    "data": _recipe("Linear", more='verify: {samples: 2, data: samples/*.npz, function: "models:within"}\n'),
    "fixed": 'model: {import: "models:Linear"}\ninputs: {x: {shape: [2, 6]}}\nverify: {samples: 2}\n',
    "adopted": f"model: {{onnx: source.onnx}}\ninputs: {{x: {{shape: [batch, 6]}}}}\n{AXES}"
    + HALF % "convert" + "static: [{batch: 2}]\nverify: {samples: 2}\n",
    "engine": _recipe(
        "Linear",
        more="static: [{batch: 2}]\nengines:\n"
        "  - {precision: fp32, profiles: [{batch: {min: 1, opt: 1, max: 1}}, {}]}\n"
        "  - {precision: fp32, variant: {batch: 2}, targets: [sm89, sm86],\n"
        "     builder: {workspace: 1GiB, tf32: false}}\n",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Answer]:
    project = Project(tmp_path_factory.mktemp("roads"))
    project.write("models.py", MODELS)
    for name, text in RECIPES.items():
        project.write(f"recipes/{name}.yaml", text)
    (project.folder / "recipes/samples").mkdir()
    np.savez(project.folder / "recipes/samples/one.npz", x=np.ones((3, 6), np.float32))
    save_file(
        {"f.weight": torch.eye(6)[:3].contiguous(), "f.bias": torch.arange(3.0)},
        project.folder / "recipes/linear.safetensors",
    )
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[N, 6] x) => (float[N, 6] y)'
        "{ h = Tanh(x) y = Mul(h, h) }"
    )
    onnx.save(model, str(project.folder / "recipes/source.onnx"))
    answer = project.run("build", "recipes", "--format", "json")
    return project, answer


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_road_leads_to_proven_files(built: tuple[Project, Answer], name: str) -> None:
    recipe = _of(built, name)
    assert recipe["status"] == "ok", recipe["diagnostics"] + [a["diagnostics"] for a in recipe["artifacts"]]
    for artifact in recipe["artifacts"]:
        assert artifact["status"] in ("built", "skipped")
        if artifact["kind"] == "onnx":
            assert artifact["parity"]["passed"]
            path = built[0].folder / artifact["path"]
            onnx.checker.check_model(str(path), full_check=True)
            if artifact["precision"] != "bf16":  # which ONNX Runtime does not run on a CPU
                session_of_file(path)


def _of(built: tuple[Project, Answer], name: str) -> dict[str, Any]:
    return next(r for r in built[1].report["recipes"] if r["name"] == name)


def _path(built: tuple[Project, Answer], name: str) -> Path:
    return built[0].folder / "build" / name.partition(".")[0] / name


def test_what_no_input_could_show_is_in_the_record_of_every_file(built: tuple[Project, Answer]) -> None:
    line = MODELS[: MODELS.index("if x.amax()")].count("\n") + 1
    left = [
        "sizes between those compared: torch.export cannot trace this model",
        f"inputs that go another way at models.py:{line}: the graph holds one side alone",
    ]
    assert [a["not_proven"] for a in _of(built, "one_sided")["artifacts"]] == [left, left]
    assert [a["not_proven"] for a in _of(built, "torchscript")["artifacts"]] == [[]]


def test_a_file_as_far_off_as_pytorch_itself_is_published_where_the_recipe_allows_it(
    built: tuple[Project, Answer],
) -> None:
    (artifact,) = _of(built, "conditioned")["artifacts"]
    (said,) = (d for d in artifact["diagnostics"] if d["code"] == "ill-conditioned")
    assert said["level"] == "warning"
    assert artifact["parity"]["tolerance"].endswith("relative_l2 0.001, mismatch 0.001, conditioning 12")


def test_torchscript_honours_an_old_opset(built: tuple[Project, Answer]) -> None:
    assert onnx.load(str(_path(built, "torchscript.fp32.onnx"))).opset_import[0].version == 11


def test_an_onnx_source_keeps_its_opset_and_takes_the_recipes_axis_names(
    built: tuple[Project, Answer],
) -> None:
    model = onnx.load(str(_path(built, "adopted.fp16.onnx")))
    assert model.opset_import[0].version == 17
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    pinned = onnx.load(str(_path(built, "adopted.fp32.batch2.onnx")))
    assert pinned.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2


def test_an_output_that_is_an_input_and_one_given_twice_are_valid(built: tuple[Project, Answer]) -> None:
    session = session_of_file(_path(built, "passthrough.fp16.onnx"))
    assert [o.name for o in session.get_outputs()] == ["same", "one", "two"]
    same, one, two = session.run(None, {"x": np.ones((3, 6), np.float32)})
    np.testing.assert_array_equal(same, np.ones((3, 6)))
    np.testing.assert_array_equal(one, two)


def test_half_edges_are_half_only_where_the_recipe_says_so(built: tuple[Project, Answer]) -> None:
    def types(name: str) -> list[str]:
        session = session_of_file(_path(built, name))
        return [v.type for v in (*session.get_inputs(), *session.get_outputs())]

    assert types("half.fp16.onnx") == ["tensor(float)"] * 2
    assert types("half_edges.fp16.onnx") == ["tensor(float16)"] * 2
    assert types("autocast.fp16.onnx") == ["tensor(float)"] * 2


def test_bf16_is_proven_where_no_cpu_runs_it(built: tuple[Project, Answer]) -> None:
    for name in ("bf16", "bf16_half", "bf16_edges", "bf16_half_edges", "bf16_autocast_norm"):
        onnx_files = [a for a in _of(built, name)["artifacts"] if a["kind"] == "onnx"]
        proofs = [a["parity"]["evidence"] for a in onnx_files if a["precision"] == "bf16"]
        assert set(proofs) <= {"bf16-simulated", "gpu"}


def test_the_opset_of_bf16_is_raised_where_an_operator_needs_it_and_only_there(
    built: tuple[Project, Answer],
) -> None:
    opsets = {
        name: onnx.load(str(_path(built, name))).opset_import[0].version
        for name in (
            "bf16.fp32.onnx", "bf16.fp16.onnx", "bf16.bf16.onnx", "bf16.bf16.batch1.onnx",
            "bf16_half.bf16.onnx", "bf16_half_edges.bf16.onnx", "bf16_autocast_norm.bf16.onnx",
        )
    }  # fmt: skip
    assert list(opsets.values()) == [18, 18, 22, 22, 22, 22, 18]
    (said,) = next(a for a in _of(built, "bf16")["artifacts"] if a["name"] == "bf16.bf16.onnx")["diagnostics"]
    assert (said["code"], said["level"]) == ("opset-mismatch", "info")
    assert said["message"] == "raised from opset 18 to 22, as bf16 needs it for Conv"


def test_bf16_edges_are_bfloat16_only_where_the_recipe_says_so(built: tuple[Project, Answer]) -> None:
    def types(name: str) -> set[int]:
        graph = onnx.load(str(_path(built, name))).graph
        return {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}

    assert types("bf16.bf16.onnx") == types("bf16_half.bf16.onnx") == {onnx.TensorProto.FLOAT}
    assert types("bf16_edges.bf16.onnx") == {onnx.TensorProto.BFLOAT16}
    assert types("bf16_half_edges.bf16.onnx") == {onnx.TensorProto.BFLOAT16}


def test_engines_are_built_from_bf16_files(built: tuple[Project, Answer]) -> None:
    engines = [a for n in ("bf16", "bf16_edges") for a in _of(built, n)["artifacts"] if a["kind"] == "engine"]
    assert [a["name"] for a in engines] == [
        "bf16.bf16.tensorrt-rtx.engine",
        "bf16.bf16.batch1.tensorrt-rtx.engine",
        "bf16_edges.bf16.tensorrt-rtx.engine",
    ]
    assert {a["status"] for a in engines} in ({"built"}, {"skipped"})


def test_blocked_operators_keep_their_weights_in_fp32(built: tuple[Project, Answer]) -> None:
    graph = onnx.load(str(_path(built, "kept.fp16.onnx"))).graph
    (conv,) = (n for n in graph.node if n.op_type == "Conv")
    types = {t.name: t.data_type for t in graph.initializer}
    assert {types[n] for n in conv.input[1:] if n in types} == {onnx.TensorProto.FLOAT}


def test_weights_come_from_the_file(built: tuple[Project, Answer]) -> None:
    session = session_of_file(_path(built, "weights.fp32.onnx"))
    x = np.arange(6, dtype=np.float32)[None]
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, [[0, 2, 4]])


def test_the_recipes_own_data_is_compared_too(built: tuple[Project, Answer]) -> None:
    shapes = _of(built, "data")["artifacts"][0]["parity"]["shapes"]
    assert {"batch": 3} in shapes


def test_initializers_are_listed_as_inputs_where_asked(built: tuple[Project, Answer]) -> None:
    for name in ("listed.fp32.onnx", "listed.fp16.batch1.onnx"):
        graph = onnx.load(str(_path(built, name))).graph
        assert {t.name for t in graph.initializer} < {i.name for i in graph.input}


def test_without_simplification_the_exporters_graph_is_published(built: tuple[Project, Answer]) -> None:
    graph = onnx.load(str(_path(built, "plain.fp32.onnx"))).graph
    assert "BatchNormalization" in {n.op_type for n in graph.node}


def test_an_engine_that_was_not_run_says_so(built: tuple[Project, Answer]) -> None:
    recipe = _of(built, "engine")
    engines = [a for a in recipe["artifacts"] if a["kind"] == "engine"]
    assert [a["name"] for a in engines] == [
        "engine.fp32.tensorrt-rtx.engine",
        "engine.fp32.batch2.tensorrt-rtx.engine",
    ]
    for engine in engines:
        if engine["status"] == "skipped":
            pytest.skip(engine["diagnostics"][0]["message"])
        if engine["parity"] is None:
            assert [d["code"] for d in engine["diagnostics"]] == ["engine-unproven"]
        else:
            assert engine["parity"]["evidence"] == "gpu"


def test_a_second_build_of_all_of_them_runs_nothing(built: tuple[Project, Answer]) -> None:
    again = built[0].run("build", "recipes", "--format", "json")
    assert again.code == 0
    assert set(again.statuses.values()) <= {"cached", "skipped"}
    assert again.stderr == ""


@pytest.mark.gpu
@pytest.mark.skipif(toolchain.gpu() is None, reason="needs a GPU")
def test_on_a_gpu_engines_and_fp16_are_proven_on_it(built: tuple[Project, Answer]) -> None:
    engine = next(a for a in _of(built, "engine")["artifacts"] if a["kind"] == "engine")
    assert engine["parity"]["evidence"] == "gpu"
    assert engine["parity"]["passed"]
