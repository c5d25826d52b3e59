"""What a half precision graph computes, node by node in numpy: an oracle for the simulation.

Each node runs alone, in float32, in ONNX's own reference implementation; what ONNX's shape
inference declares half is then rounded by numpy; a recurrent node is a graph of its own and rounds
inside, too (``half_cells``). Nothing here is shared with modelbuild or ONNX Runtime, and nothing
can be fused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from tests.graph import half_cells

FLOAT16, BFLOAT16 = onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
HALVES = {FLOAT16: np.dtype(np.float16), BFLOAT16: np.dtype(ml_dtypes.bfloat16)}


def run(proto: onnx.ModelProto, feeds: Mapping[str, Any], half: int = FLOAT16) -> list[Any]:
    """The outputs of a model without functions and other domains."""
    known = onnx.shape_inference.infer_shapes(proto)
    halves: set[str] = set()
    _find_halves(known.graph, halves, half)
    halves -= _multiplied_as_integers(proto.graph)
    domains = list(proto.opset_import)
    return _Oracle(domains, halves, half).graph(proto.graph, dict(feeds))


def _find_halves(graph: onnx.GraphProto, halves: set[str], half: int) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == half:
            halves.add(value.name)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _find_halves(attribute.g, halves, half)


def _multiplied_as_integers(graph: onnx.GraphProto) -> set[str]:
    """What is dequantized for sums of products alone: integer hardware multiplies the whole numbers."""
    made = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    products = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
    for node in graph.node:
        if node.op_type not in products:
            made.difference_update(node.input)
    return made.difference(value.name for value in graph.output)


class _Oracle:
    def __init__(self, domains: list[onnx.OperatorSetIdProto], halves: set[str], half: int) -> None:
        self.domains, self.halves, self.half = domains, halves, half

    def graph(self, graph: onnx.GraphProto, outer: dict[str, Any]) -> list[Any]:
        values = dict(outer)
        for tensor in graph.initializer:
            values.setdefault(tensor.name, onnx.numpy_helper.to_array(tensor))
        for node in graph.node:
            made = self.node(node, values)
            values.update((n, m) for n, m in zip(node.output, made, strict=True) if n)
        return [values[value.name] for value in graph.output]

    def node(self, node: onnx.NodeProto, values: dict[str, Any]) -> list[Any]:
        given = [values[name] if name else None for name in node.input]
        bodies = {a.name: a.g for a in node.attribute if a.HasField("g")}
        if node.op_type == "If":
            return self.graph(bodies["then_branch" if given[0] else "else_branch"], values)
        if node.op_type == "Loop":
            return self.loop(bodies["body"], given, values)
        if node.op_type == "Scan":
            count = next(a.i for a in node.attribute if a.name == "num_scan_inputs")
            return self.scan(bodies["body"], given[:-count], given[-count:], values)
        if node.op_type in half_cells.OPERATORS and self.halves & set(node.output):
            return half_cells.run(node, given, HALVES[self.half])
        made = self.alone(node, given)
        with np.errstate(over="ignore"):
            return [
                np.asarray(m, np.float32).astype(HALVES[self.half]) if n in self.halves else m
                for n, m in zip(node.output, made, strict=True)
            ]

    def alone(self, node: onnx.NodeProto, given: list[Any]) -> list[Any]:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for attribute in copy.attribute:
            if attribute.name == "to" and attribute.i == self.half:
                attribute.i = onnx.TensorProto.FLOAT
        names = [name for name in node.input if name]
        empty = onnx.TypeProto()
        graph = onnx.helper.make_graph(
            [copy],
            "alone",
            [onnx.helper.make_value_info(name, empty) for name in dict.fromkeys(names)],
            [onnx.helper.make_value_info(name, empty) for name in node.output if name],
        )
        model = onnx.helper.make_model(graph, opset_imports=self.domains)
        feeds = {n: _widened(g) for n, g in zip(node.input, given, strict=True) if n}
        found = iter(ReferenceEvaluator(model).run(None, feeds))
        return [next(found) if name else None for name in node.output]

    def loop(self, body: onnx.GraphProto, given: list[Any], values: dict[str, Any]) -> list[Any]:
        most, condition, *states = given
        condition = np.bool_(True) if condition is None else condition
        scanned: list[list[Any]] = [[] for _ in body.output[1 + len(states) :]]
        step = 0
        while (most is None or step < most) and condition:
            formals = [v.name for v in body.input]
            inner = dict(zip(formals, [np.int64(step), condition, *states], strict=True))
            condition, *made = self.graph(body, values | inner)
            states, more = made[: len(states)], made[len(states) :]
            for rows, row in zip(scanned, more, strict=True):
                rows.append(row)
            step += 1
        return [*states, *(np.stack(rows) for rows in scanned)]

    def scan(
        self, body: onnx.GraphProto, states: list[Any], given: list[Any], values: dict[str, Any]
    ) -> list[Any]:
        """Forwards, along first axes."""
        scanned: list[list[Any]] = []
        for rows in zip(*given, strict=True):
            inner = dict(zip([v.name for v in body.input], [*states, *rows], strict=True))
            made = self.graph(body, values | inner)
            states = made[: len(states)]
            scanned.append(made[len(states) :])
        return [*states, *map(np.stack, zip(*scanned, strict=True))]


def _widened(value: Any) -> Any:
    if isinstance(value, list):
        return [_widened(item) for item in value]
    return value.astype(np.float32) if value.dtype in HALVES.values() else value


def assert_agree(found: Any, wanted: Any, half: int = FLOAT16) -> None:
    """Equal but for what the order of float32 sums can tip over: single values, by a step or two."""
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted)
        return
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    steps = {FLOAT16: 1, BFLOAT16: 8}[half]
    np.testing.assert_allclose(found, wanted, rtol=4e-3 * steps, atol=1e-3 * steps)
    same = np.isclose(found, wanted, rtol=3e-6, atol=1e-7, equal_nan=True)
    assert same.mean() > 0.8, f"{(~same).sum()} of {same.size} values are rounded differently"
