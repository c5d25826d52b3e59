"""The sizes at which a traced path does not hold."""

from __future__ import annotations

import pytest

from modelbuild.steps.guards import exceptions
from modelbuild.tensors import TensorSpec

X = TensorSpec("x", "float32", ("batch", 3, "length"))
Y = TensorSpec("y", "float32", ("batch", "length"))
RANGES = {"batch": (1, 8), "length": (16, 512)}


@pytest.mark.parametrize(
    ("guard", "found"),
    [
        pytest.param("L['x'].size()[0] != 5", {"batch": [5]}, id="one-size"),
        pytest.param("L['x'].size()[0] != 1", {}, id="the-minimum-is-the-proofs"),
        pytest.param("L['x'].size()[0] != 9", {}, id="beyond-the-range"),
        pytest.param("L['x'].size()[2] <= 100", {"length": [101, 306, 511]}, id="a-threshold"),
        pytest.param("(L['x'].size()[0] % 2) == 0", {"batch": [3, 5, 7]}, id="arithmetic"),
        pytest.param("3 <= L['y'].size()[0] and L['x'].size()[0] <= 6", {"batch": [2, 7]}, id="twice"),
        pytest.param("L['x'].size()[0] == L['y'].size()[1]", {}, id="two-axes"),
        pytest.param("L['x'].size()[1] == 3", {}, id="a-fixed-axis"),
        pytest.param("L['z'].size()[0] != 5", {}, id="no-input-of-ours"),
        pytest.param("__import__('os').getpid() > L['x'].size()[0]", {}, id="not-arithmetic"),
    ],
)  # fmt: skip
def test_the_sizes_at_which_an_assumption_fails(guard: str, found: dict[str, list[int]]) -> None:
    assert exceptions([guard], [X, Y], RANGES) == found


def test_a_range_of_a_million_sizes_is_looked_at_in_steps() -> None:
    found = exceptions(["L['x'].size()[0] < 500000"], [X], {"batch": (1, 1_000_000)})
    assert all(500_000 <= n < 1_000_000 for n in found["batch"])
