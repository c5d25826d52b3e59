"""The sizes at which a traced path does not hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.base.tensors import TensorSpec
from modelbuild.steps.conditions import parse
from modelbuild.steps.guards import conditions, failing, places

X = TensorSpec("x", "float32", ("batch", 3, "length"))
Y = TensorSpec("y", "float32", ("batch", "length"))
RANGES = {"batch": (1, 8), "length": (16, 512)}
TRACED = {"batch": 2, "length": 17}


class Named(torch.nn.Module):
    def forward(self, y: Any, x: Any) -> Any:
        return x, y


def found(guard: str, ranges: Any = RANGES, traced: Any = TRACED) -> list[dict[str, int]]:
    known, _ = conditions([guard], places(Named(), [X, Y]), ranges)
    return [sizes for c in known for sizes in failing(c, ranges, traced).sizes]


@pytest.mark.parametrize(
    ("guard", "sizes"),
    [
        pytest.param("L['x'].size()[0] != 5", {"batch": [5]}, id="one-size"),
        pytest.param("L['x'].size()[0] != 1", {}, id="the-minimum-is-the-proofs"),
        pytest.param("L['x'].size()[0] != 9", {}, id="beyond-the-range"),
        pytest.param("L['x'].size()[2] <= 100", {"length": [101, 306, 511]}, id="a-threshold"),
        pytest.param("(L['x'].size()[0] % 2) == 0", {"batch": [3, 5, 7]}, id="a-remainder"),
        pytest.param("3 <= L['y'].size()[0] and L['x'].size()[0] <= 6", {"batch": [2, 7]}, id="twice"),
        pytest.param("L['x'].size()[1] == 3", {}, id="a-fixed-axis"),
        pytest.param("L['z'].size()[0] != 5", {}, id="no-input-of-ours"),
        pytest.param("L['flat_args'][1].size()[2] != 40", {"length": [40]}, id="numbered-by-dynamo"),
        pytest.param("math.trunc(torch.sym_float(L['x'].size()[2]) ** 0.5) != 6",
                     {"length": [36, 42, 48]}, id="a-root"),
        pytest.param("torch._sym_sqrt(torch.sym_float(L['x'].size()[2])) <= 22.0",
                     {"length": [485, 498, 511]}, id="a-float-root"),
        pytest.param("(L['x'].size()[2] & 1) != 0 or L['x'].size()[2] != 32",
                     {"length": [32]}, id="bits"),
        pytest.param("2 ** L['x'].size()[2] <= 2 ** 510", {"length": [511]}, id="beyond-64-bits"),
        pytest.param("__import__('os').getpid() > L['x'].size()[0]", {}, id="not-arithmetic"),
    ],
)  # fmt: skip
def test_the_sizes_at_which_an_assumption_fails(guard: str, sizes: dict[str, list[int]]) -> None:
    assert found(guard) == [{axis: n} for axis, many in sizes.items() for n in many]


@pytest.mark.parametrize(
    "guard",
    [
        pytest.param("L['x'].size()[0] <= L['y'].size()[1]", id="an-order"),
        pytest.param("L['x'].size()[0] != L['y'].size()[1]", id="equality"),
        pytest.param("L['x'].size()[0] * L['y'].size()[1] != 4000 * 4001", id="one-product"),
        pytest.param("8*L['x'].size()[0]*L['y'].size()[1] <= 100000000", id="a-large-product"),
    ],
)
def test_relations_of_axes_are_searched_in_both(guard: str) -> None:
    ranges = {"batch": (32, 4096), "length": (16, 5000)}
    rows = found(guard, ranges, {"batch": 33, "length": 34})
    assert rows
    for row in rows:
        text = guard.replace("L['x'].size()[0]", str(row["batch"]))
        assert not eval(text.replace("L['y'].size()[1]", str(row["length"])))
        assert all(low <= row[a] <= high for a, (low, high) in ranges.items())


def test_one_size_of_ten_million_is_found() -> None:
    assert found("L['x'].size()[2] != 7654321", {"batch": (1, 8), "length": (1, 10_000_000)}) == [
        {"length": 7654321}
    ]


def test_sizes_that_a_model_of_multiples_takes_come_first() -> None:
    rows = found("L['x'].size()[2] <= 100", {"length": (32, 512)}, {"length": 64})
    assert [row["length"] for row in rows] == [128, 320, 480, 101]


def test_sizes_are_looked_for_where_the_earlier_assumptions_hold() -> None:
    """Elsewhere forward() never comes to the question."""
    where = places(Named(), [X, Y])
    texts = ["L['x'].size()[2] >= 500", "L['x'].size()[2] % 7 != 3", "L['x'].size()[2] >= 100"]
    first, second, third = conditions(texts, where, RANGES)[0]
    assert failing(second, RANGES, TRACED, [first]).sizes == ({"length": 500}, {"length": 507})
    assert failing(third, RANGES, TRACED, [first]).sizes[0] == {"length": 17}


def test_what_was_fixed_at_one_value_is_looked_at_for_every_other() -> None:
    where = places(Named(), [X, Y])
    (few,), _ = conditions(["L['x'].size()[2] // 64 == 1"], where, RANGES)
    rows = failing(few, RANGES, {"batch": 2, "length": 65})
    assert {row["length"] // 64 for row in rows.sizes} == {0, 2, 3, 4, 5, 6, 7}
    assert rows.left == ""
    (many,), _ = conditions(["L['x'].size()[2] == 65"], where, RANGES)
    rows = failing(many, RANGES, {"batch": 2, "length": 65})
    assert len(rows.sizes) == 33
    assert rows.left == "at all other values of `L['x'].size()[2]`: 32 of 494 were tried"


def test_what_cannot_be_evaluated_is_named_and_not_taken_to_hold() -> None:
    strange = ["L['x'].stride()[0] == 4", "Frob(L['x'].size()[0]) != 3"]
    known, unread = conditions([*strange, "L['x'].size()[0] != 5"], places(Named(), [X, Y]), RANGES)
    assert [c.text for c in known] == ["L['x'].size()[0] != 5"]
    assert unread == strange


def test_guards_find_inputs_that_are_passed_by_position() -> None:
    class Unnamed(torch.nn.Module):
        def forward(self, pixels: Any, *rest: Any) -> Any:
            return pixels, rest

    where = places(Unnamed(), [X, Y])
    assert where("L['pixels'].size()[2]") == "length"
    assert where("L['rest'][0].size()[0]") == "batch"
    assert where("L['flat_args'][1].size()[1]") == "length"
    assert where("L['pixels'].size()[1]") == 3
    assert where("L['pixels'].size()[9]") is None


EXPRESSIONS = [
    "n % 7 == 3", "n // 32 != 3", "math.ceil(n / 3) == 9", "round(1.5 * n) == 9", "abs(n - 40) < 5",
    "max(64, n) == 64 and not n == 3", "-n < -5 or n ** 2 > 900", "(n if n > 9 else 2 * n) > 15",
    "math.floor(math.log2(n)) == 5", "3 < n <= 9", "n << 2 > 50", "math.sqrt(n) > math.pi",
]  # fmt: skip


@pytest.mark.parametrize("text", EXPRESSIONS)
@given(n=st.integers(1, 2000))
def test_a_condition_is_what_python_makes_of_it(text: str, n: int) -> None:
    condition = parse(text.replace("n ", "L['n'] ").replace("n)", "L['n'])"), lambda s: "n")
    assert condition is not None
    (holds,) = condition.holds({"n": np.array([n])})
    assert bool(holds) == bool(eval(text, {"math": math, "n": n}))
