"""How much of a model is half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from modelbuild.graph import files
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.inspection import inspect_file, render

# ---- how much of it is half ------------------------------------------------------------------


def inspected(folder: Path, graph: str, *weights: onnx.TensorProto, **half: Any) -> Any:
    """What is told of a graph; of one converted to half precision if ``half`` says how."""
    opsets = '"" : 18, "my" : 1' if "my." in graph else '"" : 18'
    proto = onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{opsets}]> {graph}")
    proto.graph.initializer.extend(weights)
    model = files.Model(proto)
    if half:
        model, _ = convert(model, HalfOptions(op_block_list=(), **half))
    files.write(model, folder / "m.onnx")
    return inspect_file(folder / "m.onnx")


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def names(nodes: list[dict[str, str]]) -> list[str]:
    return [node["name"] for node in nodes]


ATTENTION = """
g (float[n, 64] x) => (float[n, 64] y) {
    q = MatMul(x, w)
    [soft] s = Softmax(q)
    y = MatMul(s, v)
}
"""


def test_of_a_mixed_model_the_half_part_and_the_kept_nodes_are_told(tmp_path: Path) -> None:
    kept = {"node_block_list": ("soft", "y")}

    info = inspected(tmp_path, ATTENTION, weight("w", 64, 64), weight("v", 64, 64), **kept)

    assert info["half"] == {
        "nodes": {"half": 1, "all": 3, "share": 1 / 3},
        "weight_bytes": {"half": 64 * 64 * 2, "all": 64 * 64 * 6, "share": 1 / 3},
    }
    assert info["kept_nodes"] == [
        {"name": "soft", "op_type": "Softmax"},
        {"name": "y", "op_type": "MatMul"},
    ]
    assert info["casts"] == {"float16 -> float32": 1, "float32 -> float16": 1}


def test_a_model_that_is_half_throughout_keeps_nothing(tmp_path: Path) -> None:
    info = inspected(tmp_path, ATTENTION, weight("w", 64, 64), weight("v", 64, 64), keep_io_types=False)

    assert info["half"]["nodes"] == {"half": 3, "all": 3, "share": 1}
    assert info["half"]["weight_bytes"]["share"] == 1
    assert (info["kept_nodes"], info["casts"]) == ([], {})
    said = render(info)
    assert (
        "\nhalf        100.0% of computing nodes (3 of 3), 100.0% of weight bytes\ncasts       none\n" in said
    )
    assert "kept" not in said


def test_bfloat16_is_half_too(tmp_path: Path) -> None:
    info = inspected(
        tmp_path, ATTENTION, weight("w", 64, 64), weight("v", 64, 64),
        dtype=onnx.TensorProto.BFLOAT16, node_block_list=("soft",),
    )  # fmt: skip

    assert info["half"]["nodes"] == {"half": 2, "all": 3, "share": 2 / 3}
    assert names(info["kept_nodes"]) == ["soft"]
    assert info["casts"] == {"float32 -> bfloat16": 2, "bfloat16 -> float32": 2}


def test_of_a_model_without_half_nodes_no_share_is_told(tmp_path: Path) -> None:
    graph = "g (int64[n] x) => (float[n] y) { f = Cast <to = 1> (x) y = Exp(f) }"

    info = inspected(tmp_path, graph)

    assert (info["half"], info["kept_nodes"], info["casts"]) == (None, [], {"int64 -> float32": 1})
    assert [line.split()[0] for line in render(info).splitlines()][-5:-2] == ["weights", "nodes", "operators"]


def test_arithmetic_on_shapes_and_constants_is_no_computing_of_floats(tmp_path: Path) -> None:
    graph = """
    g (float[a, b] x) => (float[a, b] y) {
        s = Shape(x)
        f = Cast <to = 1> (s)
        two = Constant <value_float = 2.0> ()
        r = Mul(f, two)
        i = Cast <to = 7> (r)
        big = Expand(one, i)
        z = Expand(zero, s)
        e = Exp(x)
        y = Add(e, z)
    }
    """

    info = inspected(tmp_path, graph, weight("one", 1), weight("zero", 1), keep_io_types=False)

    assert info["half"]["nodes"] == {"half": 2, "all": 2, "share": 1}
    assert info["kept_nodes"] == []


def test_nodes_and_weights_inside_if_loop_and_scan_count(tmp_path: Path) -> None:
    graph = """
    g (float[n, 4] x, bool flag, int64 m) => (float[n, 4] z) {
        a = If (flag) <
            then_branch = a () => (float[n, 4] t) { r = Exp(x) t = Tanh(r) },
            else_branch = b () => (float[n, 4] e) <float[4] c = {1, 2, 3, 4}> { e = Sub(x, c) }
        >
        z = Loop (m, flag, a) <body = body (int64 i, bool go, float[n, 4] s) => (bool on, float[n, 4] o) {
            on = Identity(go)
            k = Sqrt(s)
            o = Add(k, x)
        }>
    }
    """

    info = inspected(tmp_path, graph, keep_io_types=False, node_block_list=("t", "k"))

    assert info["half"]["nodes"] == {"half": 3, "all": 5, "share": 3 / 5}
    assert info["kept_nodes"] == [{"name": "t", "op_type": "Tanh"}, {"name": "k", "op_type": "Sqrt"}]
    assert info["casts"] == {"float16 -> float32": 2, "float32 -> float16": 2}
    assert info["weights"] == {"float16": {"tensors": 1, "bytes": 8}}


def test_a_weight_in_a_body_is_not_taken_for_one_of_the_same_name_outside(tmp_path: Path) -> None:
    graph = """
    g (float[2] x, bool flag) => (float[2] z, float[32, 32] y) {
        z = If (flag) <
            then_branch = a () => (float[2] t) <float[2] w = {1, 2}> { t = Add(x, w) },
            else_branch = b () => (float[2] e) { e = Exp(x) }
        >
        y = Neg(w)
    }
    """

    info = inspected(tmp_path, graph, weight("w", 32, 32))

    assert info["weights"] == {"float32": {"tensors": 2, "bytes": 8 + 4 * 32 * 32}}


def test_a_node_without_float_outputs_computes_in_what_it_looks_at(tmp_path: Path) -> None:
    graph = """
    g (float[n, 4] x, int64[n, 4] k) => (int64[n] best, bool[n, 4] more, int64[n, 4] sum) {
        e = Exp(x)
        best = ArgMax <axis = 1, keepdims = 0> (e)
        [cmp] more = Greater(e, x)
        sum = Add(k, k)
    }
    """

    info = inspected(tmp_path, graph, keep_io_types=False, node_block_list=("cmp",))

    assert info["half"]["nodes"] == {"half": 2, "all": 3, "share": 2 / 3}
    assert info["kept_nodes"] == [{"name": "cmp", "op_type": "Greater"}]


def test_a_person_sees_the_first_kept_nodes_and_how_many_there_are(tmp_path: Path) -> None:
    chain = " ".join(f"[n{i}] t{i + 1} = Exp(t{i})" for i in range(9))
    graph = f"g (float[n] t0) => (float16[n] y) {{ {chain} c = Cast <to = 10> (t9) y = Exp(c) }}"

    info = inspected(tmp_path, graph)

    assert names(info["kept_nodes"]) == [f"n{i}" for i in range(9)]
    assert """
half        10.0% of computing nodes (1 of 10)
kept        9 nodes in float32:
            n0 (Exp)
            n1 (Exp)
            n2 (Exp)
            n3 (Exp)
            n4 (Exp)
            and 4 more
casts       float32 -> float16 1
""" in render(info)


def test_all_and_nothing_are_said_of_nothing_less(tmp_path: Path) -> None:
    info = inspected(tmp_path, ATTENTION, weight("w", 64, 64), weight("v", 64, 64), keep_io_types=False)
    info["half"] = {
        "nodes": {"half": 9999, "all": 10000, "share": 0.9999},
        "weight_bytes": {"half": 1, "all": 10000, "share": 0.0001},
    }

    assert "99.9% of computing nodes (9999 of 10000), 0.1% of weight bytes" in render(info)
