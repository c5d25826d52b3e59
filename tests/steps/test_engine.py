"""Engines are built for real, with TensorRT-RTX, which needs no GPU for that.

Every build runs in a fork: Polygraphy knows one of the two TensorRTs per process, and a parser
that dies must not take pytest along.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest

from modelbuild import toolchain
from modelbuild.errors import Diagnostic, ModelbuildError
from modelbuild.isolate import in_child
from modelbuild.steps.base import Outcome
from modelbuild.steps.engine import (
    ENGINES,
    BuildEngine,
    BuildRtxEngine,
    BuildTensorrtEngine,
    fitting_profile,
    profile_errors,
    profile_shapes,
    run_engine,
)

missing = toolchain.missing_backend("tensorrt-rtx")
needs_rtx = pytest.mark.skipif(missing is not None, reason=str(missing))
version = toolchain.versions(["tensorrt-rtx"])["tensorrt-rtx"]
RTX = f"TensorRT-RTX {version}"

ADD = "(float[batch, 4] left, float[batch, 4] right) => (float[batch, 4] y) { y = Add(left, right) }"
ADD_INPUTS = (("left", ("batch", 4)), ("right", ("batch", 4)))
SMALL = (("batch", (1, 1, 1)),)
LARGE = (("batch", (1, 3, 8)),)


def write_model(folder: Path, graph: str) -> Path:
    """A folder holding one ONNX file of this graph in ONNX's text form."""
    head = '<ir_version: 10, opset_import: ["" : 18, "my" : 1]>'
    folder.mkdir(exist_ok=True)
    model = onnx.parser.parse_model(f"{head} g {graph}")
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def build(step: BuildEngine, graph: str, tmp_path: Path) -> Outcome | tuple[Diagnostic, ...]:
    """Run the step in a fork: its outcome, or the diagnostics of its failure."""
    given = {"model": write_model(tmp_path / "given", graph)}

    def run() -> Outcome | tuple[Diagnostic, ...]:
        try:
            return step.run(given, tmp_path)
        except ModelbuildError as error:
            return error.diagnostics

    ended = in_child(run)
    assert ended.ok, ended
    result: Outcome | tuple[Diagnostic, ...] = ended.value
    return result


def rtx(inputs: Any = ADD_INPUTS, profiles: Any = (LARGE,), **knobs: Any) -> BuildRtxEngine:
    return BuildRtxEngine(filename="m.engine", inputs=inputs, profiles=profiles, **knobs)


# ---- building --------------------------------------------------------------------------------


@needs_rtx
def test_an_engine_with_two_profiles_says_what_it_takes(tmp_path: Path) -> None:
    outcome = build(rtx(profiles=(SMALL, LARGE)), ADD, tmp_path)

    assert isinstance(outcome, Outcome)
    assert (tmp_path / "m.engine").read_bytes()[:4] == b"vtrt"
    data = dict(outcome.data)
    assert data.pop("parse_seconds") >= 0
    assert data.pop("build_seconds") >= 0
    small = {"min": [1, 4], "opt": [1, 4], "max": [1, 4]}
    large = {"min": [1, 4], "opt": [3, 4], "max": [8, 4]}
    assert data == {
        "backend": "tensorrt-rtx",
        "version": version,
        "layers": 1,
        "targets": [],
        "profiles": [{"left": small, "right": small}, {"left": large, "right": large}],
    }


@needs_rtx
@pytest.mark.parametrize(
    ("graph", "inputs", "profiles", "knobs"),
    [
        pytest.param(
            "(float[2, 4] x) => (float[2, 4] y) { y = Relu(x) }",
            (("x", (2, 4)),), (), {}, id="nothing-dynamic-and-no-profile",
        ),
        pytest.param(
            "(float[n, m] x) => (float[n, m] y) { y = Relu(x) }",
            (("x", (2, 4)),), (), {}, id="dynamic-in-the-graph-alone",
        ),
        pytest.param(
            "(float[batch, 4] x, float s) => (float[batch, 4] y) { y = Mul(x, s) }",
            (("x", ("batch", 4)), ("s", ())), (LARGE,), {}, id="an-input-without-axes",
        ),
        pytest.param(ADD, ADD_INPUTS, (LARGE,), {"targets": ("sm86", "sm120")}, id="two-targets"),
        pytest.param(
            ADD, ADD_INPUTS, (LARGE,),
            {"optimization_level": 1, "workspace": 2**30, "tf32": False}, id="every-knob-turned",
        ),
    ],
)  # fmt: skip
def test_an_engine_is_built_from(graph: str, inputs: Any, profiles: Any, knobs: Any, tmp_path: Path) -> None:
    outcome = build(rtx(inputs, profiles, **knobs), graph, tmp_path)

    assert isinstance(outcome, Outcome), outcome
    assert (tmp_path / "m.engine").stat().st_size > 1000


@needs_rtx
def test_a_name_that_reads_as_a_pattern_keeps_its_own_profile(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = write_model(tmp_path / "given", "(float[batch, 4] x) => (float[batch, 4] y) { y = Relu(x) }")
    model = onnx.load(str(given / "model.onnx"))
    model.graph.input[0].name = model.graph.node[0].input[0] = "x[0]*"
    onnx.save(model, str(given / "model.onnx"))
    step = rtx((("x[0]*", ("batch", 4)),))

    ended = in_child(lambda: step.run({"model": given}, tmp_path))

    assert ended.ok, ended
    said = capfd.readouterr().out
    assert "[min=(1, 4), opt=(3, 4), max=(8, 4)]" in said
    assert "No shapes provided" not in said


@needs_rtx
def test_knobs_reach_the_builder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build(rtx(workspace=2**30, tf32=False, targets=("SM89", "sm86")), ADD, tmp_path)

    said = capfd.readouterr()
    assert "WORKSPACE: 1024.00 MiB" in said.out
    assert "Flags                  | [STRONGLY_TYPED]" in said.out
    assert "target compute capabilities: [(8, 6), (8, 9)]" in said.out
    assert "[I] Detected 2 inputs and 1 output" in said.err  # the builder's own log


@needs_rtx
def test_weights_in_a_file_of_their_own_are_found(tmp_path: Path) -> None:
    given = write_model(
        tmp_path / "given", "(float[batch, 64] x) => (float[batch, 64] y) { y = MatMul(x, w) }"
    )
    model = onnx.load(str(given / "model.onnx"))
    weight = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(model, str(given / "model.onnx"), save_as_external_data=True, location="model.onnx.data")
    step = rtx((("x", ("batch", 64)),))

    ended = in_child(lambda: step.run({"model": given}, tmp_path))

    assert ended.ok, ended
    assert (tmp_path / "m.engine").stat().st_size > weight.nbytes


# ---- what the builder refuses ----------------------------------------------------------------


@needs_rtx
@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        pytest.param(
            "(float[batch, 4] x) => (float[batch, 4] y) { [blurry] y = my.Blur(x) }",
            (
                f"{RTX} refuses node `blurry`, operator Blur: Plugin not found, are the plugin "
                "name, version, and namespace correct? (INVALID_NODE)",
                "TensorRT-RTX has no Blur like this one: try another opset, or write that part of "
                "the model with other operators",
            ),
            id="an-operator-of-nobody",
        ),
        pytest.param(
            "(float[batch, 4] x) => (float[batch, 4] y) { h = Relu(x) \n y = my.Blur(h) }",
            (
                f"{RTX} refuses node 1 (it has no name), operator Blur: Plugin not found, are the "
                "plugin name, version, and namespace correct? (INVALID_NODE)",
                "TensorRT-RTX has no Blur like this one: try another opset, or write that part of "
                "the model with other operators",
            ),
            id="a-node-without-a-name",
        ),
        pytest.param(
            "(float[batch, 4] x) => (float[batch] y) { [area] y = Det(x) }",
            (
                f"{RTX} refuses node `area`, operator Det: no reason given (UNSUPPORTED_NODE)",
                "TensorRT-RTX has no Det like this one: try another opset, or write that part of "
                "the model with other operators",
            ),
            id="an-operator-of-onnx-alone",
        ),
        pytest.param(
            "(float[batch, 4] x) => (float[batch, 4] y) "
            "{ [half] h = Cast<to = 10>(x) \n [sum] y = Add(x, h) }",
            (
                f"{RTX} refuses node `sum`, operator Add: sum: ElementWiseOperation SUM must have "
                "same input types. But they are of types Float and Half (INVALID_NODE)",
                None,
            ),
            id="two-precisions-in-one-node",
        ),
    ],
)
def test_what_the_parser_refuses_is_said_with_the_node(
    graph: str, expected: tuple[str, str | None], tmp_path: Path
) -> None:
    message, hint = expected

    found = build(rtx((("x", ("batch", 4)),)), graph, tmp_path)

    assert found == (Diagnostic("engine-failed", message, hint),)
    assert not (tmp_path / "m.engine").exists()


@needs_rtx
def test_what_the_builder_refuses_is_said_in_its_own_words(tmp_path: Path) -> None:
    graph = "(float[n, m] x, float[k, 4] w) => (float[n, 4] y) { [product] y = MatMul(x, w) }"

    found = build(rtx((("x", ("batch", 5)), ("w", (6, 4)))), graph, tmp_path)

    message = (
        f"{RTX} cannot build m.engine: IMatrixMultiplyLayer product: product: attempt to multiply "
        "two matrices with mismatching dimensions"
    )
    assert found == (Diagnostic("engine-failed", message),)


@needs_rtx
def test_of_many_refused_nodes_five_are_named(tmp_path: Path) -> None:
    nodes = "\n".join(f"[n{i}] h{i} = my.Blur(x)" for i in range(7))

    found = build(
        rtx((("x", ("batch", 4)),)), f"(float[batch, 4] x) => (float[batch, 4] h6) {{ {nodes} }}",
        tmp_path,
    )  # fmt: skip

    assert isinstance(found, tuple)
    assert len(found) == 6
    assert found[5] == Diagnostic("engine-failed", f"{RTX} refuses 2 more nodes")


@needs_rtx
def test_a_file_that_is_no_model_does_not_become_an_engine(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "model.onnx").write_bytes(b"hello world" * 10)

    def run() -> tuple[Diagnostic, ...]:
        with pytest.raises(ModelbuildError) as failed:
            rtx().run({"model": given}, tmp_path)
        return failed.value.diagnostics

    assert in_child(run).value == (
        Diagnostic(
            "engine-failed",
            f"{RTX} finds no model in model.onnx",
            "is it a valid ONNX file?",
        ),
    )


@needs_rtx
def test_an_input_whose_values_are_a_shape_is_refused(tmp_path: Path) -> None:
    graph = "(float[batch, 4] x, int64[2] s) => (float[a, b] y) { y = Reshape(x, s) }"

    found = build(rtx((("x", ("batch", 4)), ("s", (2,)))), graph, tmp_path)

    assert found == (
        Diagnostic(
            "engine-failed",
            "the values of input `s` decide shapes inside the model, and a profile has ranges for axes only",
            "make these values constants of the model, or axes of another input",
        ),
    )


@needs_rtx
@pytest.mark.parametrize(
    ("targets", "message", "hint"),
    [
        pytest.param(
            ("sm86", "sm70", "sm4"),
            f"{RTX} has no target `sm4`, `sm70`",
            "its targets are current, sm75, sm80, sm86, sm89, sm120, sm121",
            id="unknown",
        ),
        pytest.param(
            ("current", "sm86"),
            "target `current` goes with no other target, and there is `sm86`",
            "name every compute capability instead of `current`",
            id="current-and-another",
        ),
    ],
)
def test_a_target_that_cannot_be_is_an_error(
    targets: tuple[str, ...], message: str, hint: str, tmp_path: Path
) -> None:
    found = build(rtx(targets=targets), ADD, tmp_path)

    assert found == (Diagnostic("engine-failed", message, hint),)


@needs_rtx
@pytest.mark.skipif(toolchain.gpu() is not None, reason="this machine has a GPU")
def test_target_current_without_a_gpu_says_what_it_needs(tmp_path: Path) -> None:
    found = build(rtx(targets=("current",)), ADD, tmp_path)

    assert isinstance(found, tuple)
    assert found[0].message.startswith(f"{RTX} cannot build m.engine: cudaError ")
    assert found[0].hint == "this needs an NVIDIA GPU and a driver that fits this version"


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="tensorrt is installed")
def test_a_backend_that_is_not_here_is_missing(tmp_path: Path) -> None:
    step = BuildTensorrtEngine(filename="m.engine", inputs=ADD_INPUTS, profiles=(LARGE,))

    found = build(step, ADD, tmp_path)

    assert found == (
        Diagnostic(
            "backend-missing",
            "tensorrt cannot be imported: ModuleNotFoundError: No module named 'tensorrt'",
        ),
    )


# ---- profiles --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profiles", "message", "hint"),
    [
        pytest.param(
            (),
            "axis `batch` of input `x` is dynamic, and there is no profile",
            "add a profile with min, opt and max of each dynamic axis",
            id="none",
        ),
        pytest.param(
            ((("batch", (1, 3, 8)), ("time", (1, 3, 8)), ("btach", (1, 3, 8))),),
            "profiles[0]: axis `btach` is in no input's shape",
            "did you mean `batch`?",
            id="unknown-axis",
        ),
        pytest.param(
            ((("batch", (1, 3, 8)), ("time", (1, 3, 8))), (("batch", (1, 3, 8)),)),
            "profiles[1]: axis `time` of input `x` has no range",
            "add `time: {min: …, opt: …, max: …}`",
            id="axis-left-out",
        ),
        pytest.param(
            ((("batch", (4, 3, 8)), ("time", (1, 3, 8))),),
            "profiles[0]: axis `batch` has min 4, opt 3, max 8",
            "1 <= min <= opt <= max must hold",
            id="min-above-opt",
        ),
        pytest.param(
            ((("batch", (0, 3, 8)), ("time", (1, 3, 8))),),
            "profiles[0]: axis `batch` has min 0, opt 3, max 8",
            "1 <= min <= opt <= max must hold",
            id="min-of-nothing",
        ),
    ],
)
def test_a_profile_that_cannot_be_is_an_error(profiles: Any, message: str, hint: str) -> None:
    found = profile_errors((("x", ("batch", "time")), ("s", ())), profiles)

    assert found == [Diagnostic("profile-invalid", message, hint)]


@needs_rtx
@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        pytest.param(
            (("left", ("batch", 5)), ("right", ("batch", 4))),
            [("input `left`, axis 1: 5 in the recipe, 4 in the graph",
              "write the graph's size into the recipe")],
            id="another-size",
        ),
        pytest.param(
            (("left", ("batch", 4)), ("right", ("batch", "batch"))),
            [("input `right`, axis 1: dynamic (`batch`) in the recipe, 4 in the graph",
              "write the graph's size into the recipe")],
            id="dynamic-in-the-recipe-alone",
        ),
        pytest.param(
            (("left", ("batch", 4)), ("right", ("batch", 4, 1))),
            [("input `right` has 3 axes in the recipe, [batch, 4, 1], and 2 in the graph, [?, 4]",
              "write the graph's shape into `inputs`")],
            id="another-rank",
        ),
        pytest.param(
            (("left", ("batch", 4)), ("rihgt", ("batch", 4))),
            [("the recipe has input `rihgt`, and the graph has not", "did you mean `right`?"),
             ("the graph has input `right`, and the recipe has not", "add it to `inputs`")],
            id="another-name",
        ),
    ],
)  # fmt: skip
def test_inputs_that_are_not_the_graphs_are_named_before_building(
    inputs: Any, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    found = build(rtx(inputs), ADD, tmp_path)

    assert found == tuple(Diagnostic("profile-invalid", m, h) for m, h in expected)


def test_shapes_of_a_profile_are_every_inputs_axes_at_min_opt_and_max() -> None:
    inputs = (("ids", ("batch", "time")), ("image", ("batch", 3, 8, 8)), ("scale", ()))
    profile = (("batch", (1, 2, 4)), ("time", (16, 32, 64)))

    assert profile_shapes(inputs, profile) == {
        "ids": ((1, 16), (2, 32), (4, 64)),
        "image": ((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8)),
        "scale": ((), (), ()),
    }


@pytest.mark.parametrize(
    ("shape", "index"),
    [
        pytest.param((1, 4), 0, id="first-that-fits"),
        pytest.param((8, 4), 1, id="only-the-second-fits"),
        pytest.param((9, 4), None, id="too-large"),
        pytest.param((1, 5), None, id="another-fixed-size"),
        pytest.param((1, 4, 1), None, id="another-rank"),
    ],
)
def test_a_feed_runs_in_the_first_profile_that_admits_it(shape: tuple[int, ...], index: int | None) -> None:
    profiles = [
        {"x": ((1, 4), (1, 4), (1, 4))},
        {"x": ((1, 4), (3, 4), (8, 4))},
    ]

    assert fitting_profile(profiles, {"x": shape}) == index


# ---- keys ------------------------------------------------------------------------------------


def test_no_order_that_the_engine_does_not_show_is_in_the_key() -> None:
    two = (("batch", (1, 2, 4)), ("time", (16, 32, 64)))
    one = rtx(profiles=(two,), targets=("sm120", "sm86", "SM86"))
    other = rtx(profiles=(two[::-1],), targets=("sm86", "sm120"))

    assert one.knobs() == other.knobs()
    assert one.targets == ("sm86", "sm120")


@pytest.mark.parametrize(
    "knob",
    [
        {"filename": "n.engine"}, {"inputs": (("x", (1,)),)}, {"profiles": (SMALL,)},
        {"targets": ("sm86",)}, {"optimization_level": 5}, {"workspace": 1}, {"tf32": False},
    ],
    ids=lambda knob: next(iter(knob)),
)  # fmt: skip
def test_every_knob_is_in_the_key(knob: dict[str, Any]) -> None:
    step = rtx()

    assert dataclasses.replace(step, **knob).knobs() != step.knobs()


def test_the_backend_is_in_the_key_and_decides_whose_versions_and_device_are() -> None:
    steps = {n: s(filename="m.engine", inputs=ADD_INPUTS) for n, s in ENGINES.items()}

    assert {n: s.knobs()["backend"] for n, s in steps.items()} == {
        "tensorrt-rtx": "tensorrt-rtx",
        "tensorrt": "tensorrt",
    }
    assert {n: s.distributions for n, s in steps.items()} == {
        "tensorrt-rtx": ("tensorrt-rtx", "polygraphy"),
        "tensorrt": ("tensorrt", "polygraphy"),
    }
    assert {n: s.device_decides for n, s in steps.items()} == {
        "tensorrt-rtx": False,
        "tensorrt": True,
    }
    assert rtx(targets=("current",)).device_decides


# ---- running ---------------------------------------------------------------------------------


@needs_rtx
@pytest.mark.skipif(toolchain.gpu() is not None, reason="this machine has a GPU")
def test_running_without_a_gpu_says_what_it_needs(tmp_path: Path) -> None:
    build(rtx(), ADD, tmp_path)

    def run() -> tuple[Diagnostic, ...]:
        with pytest.raises(ModelbuildError) as failed:
            run_engine(tmp_path / "m.engine", "tensorrt-rtx", [], ["y"])
        return failed.value.diagnostics

    (found,) = in_child(run).value
    assert found.code == "engine-failed"
    assert found.message.startswith(f"{RTX} cannot run m.engine: cudaError ")
    assert found.hint == "this needs an NVIDIA GPU and a driver that fits this version"


@needs_rtx
@pytest.mark.gpu
@pytest.mark.skipif(toolchain.gpu() is None, reason="this machine has no GPU")
def test_an_engine_computes_what_numpy_computes_in_each_of_its_profiles(tmp_path: Path) -> None:
    build(rtx(profiles=(SMALL, LARGE), tf32=False), ADD, tmp_path)
    random = np.random.default_rng(0)
    feeds = [
        {n: random.standard_normal((batch, 4), np.float32) for n in ("left", "right")}
        for batch in (1, 8, 3, 1)
    ]

    ended = in_child(lambda: run_engine(tmp_path / "m.engine", "tensorrt-rtx", feeds, ["y"]))

    assert ended.ok, ended
    for feed, (y,) in zip(feeds, ended.value, strict=True):
        np.testing.assert_allclose(y, feed["left"] + feed["right"], rtol=1e-6)
