"""Axes pinned in a graph, and the shapes that follow from that."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from modelbuild.graph import shapes
from modelbuild.graph.files import Model
from modelbuild.graph.runtime import session
from tests.graph import graph_zoo


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


# ---- what files say of the tensors inside -------------------------------------------------------


def _inside(model: Model) -> dict[str, list[int | str | None]]:
    """The shape of each tensor inside, as the file says it."""
    return {
        value.name: [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim]
        for value in model.proto.graph.value_info
        if (kind := value.type.tensor_type).HasField("shape")
    }


_ENCODER = """(float[batch,rows,6] x, int64[rest] i) => (float[batch,rows,3] y, int64[2,found] z)
    <float[6,3] w = {0.5, -1.2, 0.1, 0.3, 2.0, -0.7, 0.01, 0.9, -0.3, 1.5, 0.2, -0.6, 1, 2, 3, 4, 5, 6}> {
        h = MatMul (x, w)  s = Shape (h)  f = Reshape (h, s)  n = NonZero (i)  c = Concat <axis = 0> (n, n)
        z = Concat <axis = 0> (n, n)  y = Relu (f) }"""


def test_a_file_says_what_the_tensors_inside_are() -> None:
    model = _model(_ENCODER)
    shapes.annotate(model)
    onnx.checker.check_model(model.proto, full_check=True)
    assert _inside(model) == {
        "h": ["batch", "rows", 3], "s": [3], "f": ["batch", "rows", 3], "n": [1, None], "c": [2, None],
    }  # fmt: skip
    assert {v.type.tensor_type.elem_type for v in model.proto.graph.value_info} == {1, 7}


def test_what_a_file_said_before_is_forgotten() -> None:
    model = _model(_ENCODER)
    shapes.annotate(model)
    once = model.proto.SerializeToString(deterministic=True)
    model.proto.graph.value_info[0].type.tensor_type.shape.dim[0].dim_value = 7
    model.proto.graph.value_info.append(onnx.helper.make_tensor_value_info("gone", 1, [2]))
    shapes.annotate(model)
    assert model.proto.SerializeToString(deterministic=True) == once


def test_an_axis_that_inference_made_up_has_no_name_unless_the_recipe_calls_one_so() -> None:
    text = "(int64[{}] x) => (int64[1,unk__1] y) {{ n = NonZero (x) y = Neg (n) }}"
    for name in ("batch", "unk__1"):
        model = _model(text.format(name))
        shapes.infer_outputs(model)
        shapes.annotate(model)
        assert _inside(model)["n"] == [1, None]
        assert _shape(model) == ([1, None] if name == "batch" else [1, "unk__1"])


def test_tensors_in_the_bodies_of_branches_are_told_too() -> None:
    model = _model("""(bool c, float[batch,3] x) => (float[batch,3] y) {
      y = If (c) <then_branch = a () => (float[batch,3] p) { r = Relu (x) p = Neg (r) },
                  else_branch = b () => (float[batch,3] q) { q = Neg (x) }> }""")
    shapes.annotate(model)
    (then,) = (a.g for a in model.proto.graph.node[0].attribute if a.name == "then_branch")
    assert [(v.name, v.type.tensor_type.shape.dim[0].dim_param) for v in then.value_info] == [("r", "batch")]


@pytest.mark.parametrize("name", graph_zoo.GRAPHS)
def test_what_a_file_says_of_its_tensors_is_what_a_run_finds(name: str) -> None:
    model = Model(graph_zoo.graph(name))
    shapes.annotate(model)
    said = _inside(model)
    listed = {value.name: value for value in model.proto.graph.value_info if value.name in said}
    feeds = graph_zoo.feeds(model.proto, size=5)
    try:
        known = session(model)
    except Exception:
        pytest.skip("ONNX Runtime has no kernel for it")
    have = {o.name for o in known.get_outputs()}
    model.proto.graph.output.extend(listed.values())
    ran = session(model)
    found = dict(zip([o.name for o in ran.get_outputs()], ran.run(None, feeds), strict=True))
    for tensor, shape in said.items():
        assert tensor not in have
        sizes = [5 if isinstance(d, str) else d for d in shape]
        assert len(sizes) == found[tensor].ndim
        assert all(d in (None, n) for d, n in zip(sizes, found[tensor].shape, strict=True)), tensor
