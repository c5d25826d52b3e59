"""The interface that an exported graph is given: the recipe's inputs, and its names for the outputs."""

from __future__ import annotations

import re
from collections.abc import Sequence

import onnx.parser
import pytest

from modelbuild.base.errors import StepError
from modelbuild.base.tensors import TensorSpec
from modelbuild.graph import interface
from modelbuild.graph.files import Model

X = TensorSpec("x", "float32", ("n", 2))


def _model() -> Model:
    text = """<ir_version: 9, opset_import: ["" : 18]>
        g (float[n, 2] x) => (float[n, 2] boxes, float[n, 2] scores) { boxes = Neg(x)  scores = Abs(x) }"""
    return Model(onnx.parser.parse_model(text))


def _settled(names: Sequence[str], labels: Sequence[str] = (), *, keep: bool = False) -> list[str]:
    model = _model()
    interface.settle(model, [X], names, labels, keep_names=keep)
    return [o.name for o in model.proto.graph.output]


@pytest.mark.parametrize(
    ("labels", "keep"),
    [
        pytest.param(["boxes", "scores"], False, id="keys-of-a-dict"),
        pytest.param([], True, id="names-of-an-onnx-file"),
    ],
)
def test_names_that_the_model_gives_to_other_outputs_are_refused(labels: Sequence[str], keep: bool) -> None:
    message = "the recipe calls output 1 `scores`, which is the model's name for output 2"
    with pytest.raises(StepError, match=re.escape(message)) as caught:
        _settled(["scores", "boxes"], labels, keep=keep)
    (said,) = caught.value.diagnostics
    assert said.hint is not None
    assert "in the model's order, `outputs: [boxes, scores]`" in said.hint


@pytest.mark.parametrize("names", [["boxes", "scores"], ["b", "s"], ["boxes", "s"]])
def test_names_of_its_own_a_recipe_may_give_by_position(names: Sequence[str]) -> None:
    assert _settled(names, ["boxes", "scores"]) == names
    assert _settled(names, keep=True) == names


def test_the_names_of_an_exporter_say_nothing_of_the_order() -> None:
    assert _settled(["scores", "boxes"], ["[0]", "[1]"]) == ["scores", "boxes"]
