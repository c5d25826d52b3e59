"""Weights under the names that a recipe gives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx.parser
import onnxruntime as ort
import pytest
import torch
from torch import nn

from modelbuild.base.errors import StepError
from modelbuild.base.tensors import TensorSpec
from modelbuild.graph import files, interface, named_weights
from modelbuild.graph.files import Model
from modelbuild.graph.simplification import simplify
from modelbuild.steps import forms
from modelbuild.steps.export import Export
from modelbuild.steps.model import LiveModel, ModelSource
from modelbuild.steps.simplify import Simplify
from modelbuild.trace.recording import Trace

GRAPH = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[n,2] x) => (float[n,2] y)
<float[2,2] f_weight = {1, 2, 3, 4}, float[2] f_bias = {5, 6}, float[2] one = {1, 1}> {
  w = Transpose(f_weight)
  learned = MatMul(x, w)
  b = Add(learned, f_bias)
  y = Add(b, one)
}
"""
STATE = ["f_weight", "f_bias", "g_weight"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As where a model is made: a pool of threads does not live on in a fork."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _model() -> Model:
    return Model(onnx.parser.parse_model(GRAPH))


def test_weights_are_named_in_the_order_of_the_state_dict_and_others_make_room() -> None:
    model = _model()
    named_weights.name(model, STATE, ["f_bias", "learned"])
    assert [t.name for t in model.proto.graph.initializer] == ["f_bias", "learned", "one"]
    assert [list(n.input) for n in model.proto.graph.node] == [
        ["f_bias"], ["x", "w"], ["learned_1", "learned"], ["b", "one"],
    ]  # fmt: skip
    onnx.checker.check_model(model.proto, full_check=True)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "`initializer_names` has 1 names, the graph has 2 weights: `f_weight`, `f_bias`"),
        (["a", "b", "c"], "`initializer_names` has 3 names, the graph has 2 weights: `f_weight`, `f_bias`"),
        (["a", "y"], "`initializer_names` has `y`, which is the name of an output"),
    ],
)
def test_a_wrong_count_or_a_name_of_an_output_is_one_error(names: list[str], message: str) -> None:
    with pytest.raises(StepError) as caught:
        named_weights.name(_model(), STATE, names)
    assert [(d.code, d.message) for d in caught.value.diagnostics] == [("inputs-mismatch", message)]


def test_what_is_held_is_not_folded_and_what_is_not_is() -> None:
    model, said = simplify(_model(), held=["f_weight"])
    assert said == ()
    graph = model.proto.graph
    assert {"f_weight"} < {t.name for t in graph.initializer}
    assert [i.name for i in graph.input] == ["x"]
    assert "Transpose" in [n.op_type for n in graph.node]
    interface.set_initializers_as_inputs(model, ["f_weight"])
    assert [i.name for i in graph.input] == ["x", "f_weight"]
    plain, _ = simplify(_model())
    assert "Transpose" not in [n.op_type for n in plain.proto.graph.node]


class Normalised(nn.Module):
    """An exporter would fuse the two, fold the transposed weight, and merge what is equal."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.Linear(4, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.conv(x)))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_caller_who_gives_other_weights_gets_the_model_with_those(exporter: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    names = tuple(f"learned_{i}" for i in range(7))
    model = LiveModel(forms.asleep(Normalised()), ModelSource("a:b"), Path(), Trace.__new__(Trace))
    spec = (TensorSpec("x", "float32", ("batch", 2, 4)),)
    exported, out = tmp_path / "export", tmp_path / "out"
    exported.mkdir()
    out.mkdir()
    Export(
        source=ModelSource("a:b"),
        inputs=spec,
        outputs=("y",),
        traced={"batch": 2},
        ranges={"batch": (1, 4)},
        opset=18,
        exporter=exporter,
        constant_folding=True,
        initializer_names=names,
    ).run_beside(model, {}, exported)
    Simplify(filename="net.onnx", enabled=True, constant_folding=True, keep_initializers_as_inputs=names).run(
        {"model": exported}, out
    )
    assert [i.name for i in files.read(out / "net.onnx").proto.graph.input] == ["x", *names]
    other = forms.asleep(Normalised())
    state = {n: v for n, v in other.state_dict().items() if "num_batches" not in n}
    with torch.no_grad():
        for value in state.values():
            value.copy_(torch.rand_like(value))
    x = torch.randn(3, 2, 4)
    given = {"x": x.numpy(), **{n: v.numpy() for n, v in zip(names, state.values(), strict=True)}}
    (got,) = ort.InferenceSession(out / "net.onnx").run(None, given)
    torch.testing.assert_close(torch.from_numpy(got), other(x))


def test_an_export_without_names_has_the_key_that_it_had() -> None:
    step = Export(
        source=ModelSource("a:b"),
        inputs=(),
        outputs=None,
        traced={},
        ranges={},
        opset=18,
        exporter="auto",
        constant_folding=True,
    )
    assert "initializer_names" not in step.knobs()
