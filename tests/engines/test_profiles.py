"""Profiles are judged and read without any library."""

from __future__ import annotations

from typing import Any

import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.engines.profiles import fitting_profile, graph_errors, profile_errors, profile_shapes


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
def test_inputs_that_are_not_the_graphs_are_named(inputs: Any, expected: list[tuple[str, str]]) -> None:
    found = graph_errors(inputs, {"left": (-1, 4), "right": (-1, 4)})

    assert found == [Diagnostic("profile-invalid", m, h) for m, h in expected]


def test_an_axis_that_is_dynamic_in_the_graph_alone_is_no_error() -> None:
    assert graph_errors((("x", (2, 4)),), {"x": (-1, -1)}) == []


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
