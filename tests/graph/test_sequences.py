"""Splits that an exporter wrote as sequences."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from modelbuild.graph.files import Model
from modelbuild.graph.sequences import without_split_sequences

CHUNKS = """
  zero = Constant<value = int64 {0}>()
  last = Constant<value = int64 {-1}>()
  s = SplitToSequence<axis = 1, keepdims = 1>(x, size)
  a = SequenceAt(s, zero)
  b = SequenceAt(s, last)
"""


def _model(
    body: str, size: str = "int64 size = {3}", shape: str = "N, 7", opset: int = 18
) -> onnx.ModelProto:
    text = f"""<ir_version: 9, opset_import: ["" : {opset}]>
    g (float[{shape}] x) => (float[N, A] a, float[N, B] b) <{size}> {{ {body} }}"""
    return onnx.parser.parse_model(text)


def _rewritten(proto: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    without_split_sequences(Model(made, {}))
    onnx.checker.check_model(made, full_check=True)
    return made


def _run(proto: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.arange(14, dtype=np.float32).reshape(2, 7)})


def _operators(proto: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in proto.graph.node if n.op_type != "Constant"]


@pytest.mark.parametrize(
    ("size", "parts"),
    [
        pytest.param("int64 size = {3}", [3, 3, 1], id="one-size-and-a-smaller-rest"),
        pytest.param("int64 size = {7}", [7], id="one-part"),
        pytest.param("int64[3] size = {2, 4, 1}", [2, 4, 1], id="a-size-each"),
    ],
)
def test_a_split_is_one_node_and_gives_the_same_parts(size: str, parts: list[int]) -> None:
    before = _model(CHUNKS, size)
    after = _rewritten(before)
    assert _operators(before) == ["SplitToSequence", "SequenceAt", "SequenceAt"]
    assert _operators(after) == ["Split", "Identity", "Identity"]
    sizes = next(t for t in after.graph.initializer if t.name == "s_sizes")
    assert onnx.numpy_helper.to_array(sizes).tolist() == parts
    for want, got in zip(_run(before), _run(after), strict=True):
        np.testing.assert_array_equal(want, got)


@pytest.mark.parametrize(
    "proto",
    [
        pytest.param(_model(CHUNKS, shape="N, W"), id="an-axis-that-is-free"),
        pytest.param(
            _model(CHUNKS.replace("b = SequenceAt(s, last)", "b = ConcatFromSequence<axis = 1>(s)")),
            id="a-sequence-that-is-used-whole",
        ),
        pytest.param(
            _model(CHUNKS.replace("last = Constant<value = int64 {-1}>()", "last = Size(size)")),
            id="an-index-that-is-computed",
        ),
        pytest.param(_model(CHUNKS.replace(", keepdims = 1>(x, size)", ", keepdims = 1>(x)")), id="no-size"),
        pytest.param(_model(CHUNKS, opset=12), id="an-old-opset"),
    ],
)
def test_what_is_not_known_stays_a_sequence(proto: onnx.ModelProto) -> None:
    assert _rewritten(proto) == proto


def test_a_part_that_is_taken_twice_or_by_a_body_is_the_same_part() -> None:
    body = """
      zero = Constant<value = int64 {0}>()
      s = SplitToSequence<axis = 1, keepdims = 1>(x, size)
      a = SequenceAt(s, zero)
      sure = Constant<value = bool {1}>()
      b = If (sure) <
        then_branch = t () => (float[N, B] inner) { inner = SequenceAt(s, zero) },
        else_branch = e () => (float[N, B] other) { other = SequenceAt(s, zero) }
      >
    """
    before = _model(body)
    after = _rewritten(before)
    assert _operators(after) == ["Split", "Identity", "If"]
    for want, got in zip(_run(before), _run(after), strict=True):
        np.testing.assert_array_equal(want, got)
