"""What becomes of knobs: an engine, a mistake in words, a key."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.steps.base import Outcome
from modelbuild.steps.engine import ENGINES
from tests.engines.small import ADD, ADD_INPUTS, LARGE, RTX, SMALL, build, needs_rtx, rtx, version

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
def test_knobs_reach_the_builder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build(rtx(workspace=2**30, tf32=False, targets=("SM89", "sm86")), ADD, tmp_path)

    said = capfd.readouterr()
    assert "WORKSPACE: 1024.00 MiB" in said.out
    assert "Flags                  | [STRONGLY_TYPED]" in said.out
    assert "target compute capabilities: [(8, 6), (8, 9)]" in said.out
    assert "[I] Detected 2 inputs and 1 output" in said.err  # the builder's own log


@needs_rtx
def test_inputs_that_are_not_the_graphs_are_named_before_building(tmp_path: Path) -> None:
    found = build(rtx((("left", ("batch", 5)), ("right", ("batch", 4)))), ADD, tmp_path)

    message = "input `left`, axis 1: 5 in the recipe, 4 in the graph"
    assert found == (Diagnostic("profile-invalid", message, "write the graph's size into the recipe"),)
    assert not (tmp_path / "m.engine").exists()


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
    assert {n: s.uses() for n, s in steps.items()} == {
        "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_libs", "polygraphy"),
        "tensorrt": ("tensorrt", "tensorrt_libs", "polygraphy"),
    }
    assert {n: s.device_decides for n, s in steps.items()} == {
        "tensorrt-rtx": False,
        "tensorrt": True,
    }
    assert rtx(targets=("current",)).device_decides
