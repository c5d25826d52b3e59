"""Casts that change nothing go; those that round, or hold an interface, stay."""

from __future__ import annotations

import onnx
import pytest

from modelbuild.graph.casts import drop_redundant_casts
from modelbuild.graph.naming import prepared
from modelbuild.graph.types import tensor_types
from tests.graph import graph_zoo

# A graph, and what is left of it: each node as `made = Operator(taken)`.
CASES = {
    "to-the-type-that-is-there": (
        """g (float[2] x) => (float[2] y)
        { a = Cast<to = 1>(x)  b = Exp(a)  c = Cast<to = 1>(b)  y = Tanh(c) }""",
        ["b = Exp(x)", "y = Tanh(b)"],
    ),
    "to-a-wider-type-and-back": (
        "g (float16[2] x) => (float16[2] y) { a = Cast<to = 1>(x)  b = Cast<to = 10>(a)  y = Tanh(b) }",
        ["y = Tanh(x)"],
    ),
    "to-two-wider-types-and-back": (
        """g (float16[2] x) => (float16[2] y)
        { a = Cast<to = 1>(x)  b = Cast<to = 11>(a)  c = Cast<to = 10>(b)  y = Tanh(c) }""",
        ["y = Tanh(x)"],
    ),
    "to-a-narrower-type-and-back-is-a-rounding": (
        "g (float[2] x) => (float[2] y) { a = Cast<to = 10>(x)  b = Cast<to = 1>(a)  y = Tanh(b) }",
        ["a = Cast(x)", "b = Cast(a)", "y = Tanh(b)"],
    ),
    "between-halves-of-two-kinds": (
        "g (float16[2] x) => (float16[2] y) { a = Cast<to = 16>(x)  b = Cast<to = 10>(a)  y = Tanh(b) }",
        ["a = Cast(x)", "b = Cast(a)", "y = Tanh(b)"],
    ),
    "of-whole-numbers": (
        "g (int64[2] i) => (int64[2] y) { a = Cast<to = 1>(i)  b = Cast<to = 7>(a)  y = Neg(b) }",
        ["a = Cast(i)", "b = Cast(a)", "y = Neg(b)"],
    ),
    "the-wider-one-is-used": (
        """g (float16[2] x) => (float16[2] y, float[2] z)
        { a = Cast<to = 1>(x)  z = Exp(a)  b = Cast<to = 10>(a)  y = Tanh(b) }""",
        ["a = Cast(x)", "z = Exp(a)", "y = Tanh(x)"],
    ),
    "the-wider-one-is-an-output": (
        """g (float16[2] x) => (float16[2] y, float[2] a)
        { a = Cast<to = 1>(x)  b = Cast<to = 10>(a)  y = Tanh(b) }""",
        ["a = Cast(x)", "y = Tanh(x)"],
    ),
    "repeated": (
        "g (float16[2] x) => (float[2] y) { a = Cast<to = 1>(x)  b = Cast<to = 1>(x)  y = Add(a, b) }",
        ["a = Cast(x)", "y = Add(a, a)"],
    ),
    "an-output-keeps-its-name": (
        "g (float[2] x) => (float[2] y, float[2] z) { a = Exp(x)  z = Tanh(a)  y = Cast<to = 1>(a) }",
        ["y = Exp(x)", "z = Tanh(y)"],
    ),
    "two-outputs-of-one-tensor": (
        "g (float[2] x) => (float[2] y, float[2] z) { a = Exp(x)  y = Cast<to = 1>(a)  z = Cast<to = 1>(a) }",
        ["y = Exp(x)", "z = Identity(y)"],
    ),
    "from-an-input-to-an-output": (
        "g (float[2] x) => (float[2] y) { y = Cast<to = 1>(x) }",
        ["y = Identity(x)"],
    ),
    "in-a-body-of-what-is-outside": (
        """g (float16[2] x, bool c) => (float[2] y, float16[2] z)
        { a = Cast<to = 1>(x)
          y = If(c) <then_branch = t () => (float[2] o) { b = Cast<to = 1>(x)  o = Exp(b) },
                     else_branch = e () => (float[2] p) { p = Tanh(a) }>
          z = If(c) <then_branch = t () => (float16[2] q) { d = Cast<to = 10>(a)  q = Exp(d) },
                     else_branch = e () => (float16[2] r) { r = Cast<to = 10>(a) }> }""",
        [
            "a = Cast(x)", "y = If(c)", "o = Exp(a)", "p = Tanh(a)", "z = If(c)", "q = Exp(x)",
            "r = Identity(x)",
        ],
    ),
    "one-branch-does-not-see-the-other": (
        """g (float16[2] x, bool c) => (float[2] y)
        { y = If(c) <then_branch = t () => (float[2] o) { a = Cast<to = 1>(x)  o = Exp(a) },
                     else_branch = e () => (float[2] p) { b = Cast<to = 1>(x)  p = Tanh(b) }> }""",
        ["y = If(c)", "a = Cast(x)", "o = Exp(a)", "b = Cast(x)", "p = Tanh(b)"],
    ),
}  # fmt: skip


def written(graph: onnx.GraphProto) -> list[str]:
    lines = []
    for node in graph.node:
        lines.append(f"{', '.join(node.output)} = {node.op_type}({', '.join(node.input)})")
        for attribute in sorted(node.attribute, key=lambda a: a.name, reverse=True):
            lines += written(attribute.g)
    return lines


@pytest.mark.parametrize("name", CASES)
def test_what_is_left(name: str) -> None:
    text, wanted = CASES[name]
    proto = prepared(graph_zoo.parse(text))
    drop_redundant_casts(proto, tensor_types(proto))
    assert written(proto.graph) == wanted
    onnx.checker.check_model(proto, full_check=True)


def test_what_was_said_of_a_tensor_goes_with_it() -> None:
    proto = prepared(graph_zoo.parse(CASES["to-a-wider-type-and-back"][0]))
    for name, elem_type in (("a", onnx.TensorProto.FLOAT), ("b", onnx.TensorProto.FLOAT16)):
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, elem_type, [2]))
    drop_redundant_casts(proto, tensor_types(proto))
    assert not proto.graph.value_info
