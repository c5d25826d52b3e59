"""Axes pinned in a graph, and the shapes that follow from that."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from modelbuild.graph import shapes
from modelbuild.graph.files import Model
from modelbuild.graph.runtime import session


def _model(text: str) -> Model:
    return Model(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> g {text}'))


def _shape(model: Model) -> list[int | str | None] | None:
    kind = model.proto.graph.output[0].type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]


_SQUEEZED = "(float[batch,3,n] x) => (float[batch,3] y) { m = ReduceMax (x) y = Squeeze (m) }"
_POOLED = "(float[batch,3,8] x) => (float[batch,3] y) { m = GlobalMaxPool (x) y = Squeeze (m) }"
_RESHAPED = """(float[batch,3,n] x, int64[2] to) => (float[batch,wide] y) { y = Reshape (x, to) }"""
_BRANCHES = """(bool c, float[batch,3] x) => (float[batch,3] y) {
  y = If (c) <then_branch = a () => (float[batch,3] p) { p = Relu (x) },
              else_branch = b () => (float[batch,3] q) { q = Neg (x) }> }"""


@pytest.mark.parametrize(
    ("text", "sizes", "shape"),
    [
        (_POOLED, {"batch": 4}, [4, 3]),
        (_POOLED, {"batch": 1}, [3]),
        (_SQUEEZED, {"batch": 1, "n": 5}, []),
        ("(float[batch,n] x) => (float[batch,n] y) { y = Relu (x) }", {"batch": 2}, [2, "n"]),
        (_RESHAPED, {"batch": 2}, [2, "wide"]),
        (_BRANCHES, {"batch": 2}, [2, 3]),
    ],
    ids=["as declared", "another rank", "none left", "a free axis", "unknown to inference", "in branches"],
)
def test_pinned_axes_give_the_outputs_shapes_anew(
    text: str, sizes: dict[str, int], shape: list[int | str]
) -> None:
    model = _model(text)
    shapes.pin(model, sizes)
    onnx.checker.check_model(model.proto, full_check=True)
    assert _shape(model) == shape


def test_a_rank_that_only_running_can_tell_is_not_declared() -> None:
    """Inference does not know the axis `rest`, which is 1 for some of its sizes."""
    text = """(float[batch,3,n] x, int64[3] to) => (float[batch,3,rest] y) {
        r = Reshape (x, to) y = Squeeze (r) }"""
    model = _model(text)
    assert shapes.pin(model, {"batch": 1}) == ()
    assert _shape(model) is None
    feeds = {"x": np.ones((1, 3, 2), np.float32), "to": np.array([1, 3, 2])}
    assert session(model).run(None, feeds)[0].shape == (3, 2)


def test_an_output_of_another_rank_is_told_with_both_shapes() -> None:
    (said,) = shapes.pin(_model(_POOLED), {"batch": 1})
    assert (said.code, said.level) == ("outputs-mismatch", "warning")
    assert said.message == "output `y` has shape [3] here, [batch, 3] in the dynamic file"
    assert not shapes.pin(_model(_POOLED), {"batch": 2})


def test_a_loop_runs_on_where_an_axis_is_pinned() -> None:
    """ONNX Runtime takes no Loop whose counter has no shape; its state grows, and has another each time."""
    model = _model("""(float[batch,3] x, int64 many, bool go) => (float[batch,wide] y) {
        y = Loop (many, go, x) <body =
            b (int64 i, bool on, float[batch,v] s) => (bool on2, float[batch,w] t) {
            on2 = Identity (on) t = Concat <axis = 1> (s, s) }> }""")
    shapes.pin(model, {"batch": 2})
    given = {"x": np.ones((2, 3), np.float32), "many": np.array(2), "go": np.array(True)}
    assert session(model).run(None, given)[0].shape == (2, 12)
