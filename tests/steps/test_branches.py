"""A trace holds one side of a branch on values: which are seen, and whether that matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.base.tensors import TensorSpec, Values
from modelbuild.steps import branches, concrete, failures, samples
from modelbuild.steps.export import Export
from modelbuild.steps.model import LiveModel, ModelSource
from modelbuild.steps.paths import Exported
from modelbuild.steps.variations import variations

X = TensorSpec("x", "float32", ("batch", 4))


class Net(nn.Module):
    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act
        self.register_buffer("limit", torch.tensor(3.0))

    def forward(self, x: Any) -> Any:
        return self.act(x, self)


def large(x: Any, net: Any) -> Any:
    if x.abs().max() > 50:
        return x * 2
    return x + 1


def one_value(x: Any, net: Any) -> Any:
    if x.sum() == 123.456:
        return x * 2
    return x + 1


def buffer(x: Any, net: Any) -> Any:
    return x * 2 if net.limit > 2 else x + 1


def size(x: Any, net: Any) -> Any:
    return x * 2 if x.shape[0] > 1 and x.size(1) == 4 and x.numel() > 3 else x + 1


def size_as_number(x: Any, net: Any) -> Any:
    return x[:, : int(x.shape[1])] * float(x.shape[0])


def without_a_difference(x: Any, net: Any) -> Any:
    if (x < 0).any():
        x = x.clamp(min=0)
    return x.clamp(min=0) * 2


def asserts(x: Any, net: Any) -> Any:
    assert not x.isnan().any()
    return x * 2


def raises(x: Any, net: Any) -> Any:
    if x.abs().max() > 1000:
        raise ValueError("too large")
    return x * 2


def prints(x: Any, net: Any) -> Any:
    print(x)
    return x * 2


def nothing_found(x: Any, net: Any) -> Any:
    found = (x[:, 0] > 30).nonzero()
    if found.shape[0] == 0:
        return x * 2
    return x + 1


def masked(x: Any, net: Any) -> Any:
    return x * 2 if len(x[x > 30]) == 0 else x + 1


def never_found(x: Any, net: Any) -> Any:
    return x * 2 if len(x[x > 1e6]) == 0 else x + 1


def counted(x: Any, net: Any) -> Any:
    return x * int((x[:, 0] > 0).nonzero().shape[0])


def mean(x: Any, net: Any) -> Any:
    return x * float(x.mean())


def item(x: Any, net: Any) -> Any:
    return x * x.max().item()


def listed(x: Any, net: Any) -> Any:
    return x * max(x[0].tolist())


def sorted_by_numpy(x: Any, net: Any) -> Any:
    return x + torch.from_numpy(np.sort(x.numpy()))


def equal(x: Any, net: Any) -> Any:
    return x * 2 if torch.equal(x, x.abs()) else x + 1


def until_small(x: Any, net: Any) -> Any:
    while x.abs().max() > 1:
        x = x / 2
    return x


def traced(act: Any) -> list[concrete.Spot]:
    x = torch.from_numpy(samples.random_inputs([X], {"batch": 2}, (0, 1))["x"])
    with concrete.while_traced(1) as spots:
        torch.jit._get_trace_graph(Net(act).eval(), (x,))
    return spots


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        (large, ["bool"]),
        (one_value, ["bool"]),
        (buffer, []),
        (size, []),
        (size_as_number, []),
        (without_a_difference, ["bool"]),
        (asserts, ["bool, checks"]),
        (raises, ["bool, checks"]),
        (prints, []),
        (nothing_found, ["bool, sized"]),
        (masked, ["number, sized"]),
        (never_found, ["number, sized"]),
        (counted, ["number, sized"]),
        (mean, ["number"]),
        (item, ["number"]),
        (listed, ["array"]),
        (sorted_by_numpy, ["array"]),
        (equal, ["bool"]),
        (until_small, ["bool"]),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_depends_on_values_is_seen_and_sizes_and_weights_are_not(act: Any, seen: list[str]) -> None:
    spots = traced(act)
    said = [s.kind + ", sized" * s.sized + ", checks" * s.only_checks for s in spots]
    assert said == seen
    assert all(Path(s.path) == Path(__file__) and s.text for s in spots)


def test_nothing_is_left_on_the_class_of_tensors() -> None:
    before = dict(vars(torch.Tensor)), torch.equal
    with concrete.while_traced(1), concrete.while_called([]):
        assert torch.equal is not before[1]
    assert (dict(vars(torch.Tensor)), torch.equal) == before


def judged(act: Any, folder: Path, spec: TensorSpec = X) -> tuple[tuple[Diagnostic, ...], list[str]]:
    """The verdict on the file that torchscript makes of it."""
    import onnx

    model = LiveModel(Net(act).eval(), ModelSource("none"), Path(__file__).parent, None)  # type: ignore[arg-type]
    step = Export(
        source=model.source,
        inputs=(spec,),
        outputs=None,
        traced={"batch": 2},
        ranges={"batch": (1, 4)},
        opset=17,
        exporter="auto",
        constant_folding=True,
    )
    x = samples.as_tensors(samples.random_inputs([spec], {"batch": 2}, (0, 1)))
    with concrete.while_traced(1) as spots:
        graph = step._export("torchscript", model.module, x, folder)
    onnx.save(graph.proto, folder / "net.onnx")
    of = Exported(model, [spec], samples.as_tensors, step.ranges, step.traced, folder / "net.onnx")
    return branches.judged(of, spots)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (large, "with values times 100, PyTorch takes the other side"),
        (nothing_found, "forward() branches on a size that values decide"),
        (masked, "with values times 100, PyTorch"),
        (counted, "forward() makes a Python number of a size that values decide"),
        (mean, "with other random values, PyTorch gives another number"),
        (listed, "forward() takes values out of PyTorch"),
        (equal, "with values above the mean alone, PyTorch takes the other side"),
        (until_small, "(`while x.abs().max() > 1:`), and the torchscript exporter freezes the side"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_an_input_that_goes_another_way_where_the_file_is_wrong_is_an_error(
    act: Any, said: str, tmp_path: Path
) -> None:
    with pytest.raises(StepError) as stopped:
        judged(act, tmp_path)
    (told,) = stopped.value.diagnostics
    assert (told.code, told.level) == ("branch-on-values", "error")
    assert said in told.message
    assert "test_branches.py:" in told.message
    assert told.hint is not None


@pytest.mark.parametrize("act", [without_a_difference, asserts, raises, size, buffer, prints])
@pytest.mark.filterwarnings("ignore")
def test_a_branch_that_makes_no_difference_is_no_news(act: Any, tmp_path: Path) -> None:
    assert judged(act, tmp_path) == ((), [])


@pytest.mark.parametrize("act", [one_value, never_found])
@pytest.mark.filterwarnings("ignore")
def test_a_side_that_no_input_takes_is_a_warning_and_not_proven(act: Any, tmp_path: Path) -> None:
    line = act.__code__.co_firstlineno + 1
    (told,), unproven = judged(act, tmp_path)
    assert (told.code, told.level) == ("branch-on-values", "warning")
    assert f" at test_branches.py:{line} (`" in told.message
    assert "none of 10 other inputs" in told.message
    assert unproven == [
        f"inputs that go another way at test_branches.py:{line}: the graph holds one side alone"
    ]


@pytest.mark.filterwarnings("ignore")
def test_inputs_stay_within_the_values_of_the_recipe(tmp_path: Path) -> None:
    spec = TensorSpec("x", "float32", ("batch", 4), Values(low=-40, high=40))
    (told,), _ = judged(large, tmp_path, spec)
    assert told.level == "warning"


@pytest.mark.parametrize(
    ("dtype", "values", "low", "high"),
    [
        ("float32", Values(low=-2, high=5), -2, 5),
        ("int64", Values(low=0, high=30522), 0, 30521),
        ("int64", Values(low=1, high=2), 1, 1),
        ("int64", Values(), 0, 1),
        ("bool", Values(), 0, 1),
        ("uint8", Values(low=0, high=256), 0, 255),
        ("float32", Values(mean=0.5, std=0.1), -1.5, 2.5),
    ],
)
def test_other_inputs_reach_the_ends_of_a_range_and_never_leave_it(
    dtype: str, values: Values, low: float, high: float
) -> None:
    spec = TensorSpec("x", dtype, ("batch", 50), values)
    found = [arrays["x"] for _, arrays in variations([spec], {"batch": 4})]
    assert all(a.dtype == np.dtype(dtype) and a.shape == (4, 50) for a in found)
    assert all(low <= a.min() and a.max() <= high for a in found)
    if values.std is None:
        assert any((a == low).all() for a in found)
        assert any((a == high).all() for a in found)


def test_a_constant_has_no_other_value_and_one_input_may_move_alone() -> None:
    still = TensorSpec("s", "float32", (2,), Values(constant=1))
    mask = TensorSpec("m", "bool", (2, 3))
    assert list(variations([still], {})) == []
    found = dict(variations([mask, X], {"batch": 2}))
    first = samples.random_inputs([mask, X], {"batch": 2}, (0, 1))
    alone = found["the lowest value alone in `m` alone"]
    assert not alone["m"].any()
    assert np.array_equal(alone["x"], first["x"])


def test_a_branch_on_values_is_not_sent_to_the_exporter_that_freezes_it() -> None:
    try:
        torch.export.export(Net(large).eval(), (torch.ones(2, 4),), strict=False)
    except Exception as error:
        (told,) = failures.of_exporter("dynamo", error, [X], "batch=2").diagnostics
    assert told.code == "export-failed"
    assert told.message.startswith("forward() branches on values")
    assert "test_branches.py:" in told.message
    assert "torch.where()" in str(told.hint)
    assert "would freeze" in str(told.hint)
    (other,) = failures.of_exporter("dynamo", ValueError("no such operator"), [X], "batch=2").diagnostics
    assert "freezes every branch" in str(other.hint)
