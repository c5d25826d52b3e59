"""What holds for every graph in half precision, and how tests ask."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from modelbuild.graph import files, naming
from modelbuild.graph.files import Model
from modelbuild.graph.placement import walk
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session

HALF, FLOAT, BFLOAT16 = TensorProto.FLOAT16, TensorProto.FLOAT, int(TensorProto.BFLOAT16)
DOUBLE = TensorProto.DOUBLE
OPSETS = range(13, 26)

edges = pytest.mark.parametrize("keep", [True, False], ids=["keep-io", "half-io"])
blocks = pytest.mark.parametrize("blocked", [None, ()], ids=["default-blocks", "no-blocks"])


def half(proto: onnx.ModelProto, **options: object) -> Model:
    return convert(Model(proto), HalfOptions(**options))[0]


def cast_feeds(model: Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    types = {v.name: v.type.tensor_type.elem_type for v in model.proto.graph.input}
    return {n: np.asarray(a, files.numpy_dtype(types[n])) for n, a in feeds.items()}


def node(model: Model, name: str) -> onnx.NodeProto:
    """The node that makes a tensor."""
    return next(n for n in model.proto.graph.node if name in n.output)


def weights(model: Model) -> dict[str, np.ndarray]:
    return {t.name: model.array(t) for t in model.proto.graph.initializer}


def casts(model: Model) -> list[str]:
    return [n.name for n in model.proto.graph.node if n.op_type == "Cast"]


def assert_valid(model: Model, before: onnx.ModelProto | None = None) -> None:
    """Checked in full, sorted, loaded; each name once, no weight for nothing, no Cast for nothing."""
    onnx.checker.check_model(model.proto, full_check=True)
    session(model)
    every = list(naming.graphs(model.proto.graph))
    _assert_sorted(model.proto.graph, set())
    tensors = Counter(name for graph in every for name in set(naming.defined(graph)))
    nodes = Counter((id(graph), n.name) for graph in every for n in graph.node if n.name)
    assert max((*tensors.values(), *nodes.values()), default=0) <= 1
    unused = _unused(model.proto)
    assert unused <= (_unused(before) if before else set()), unused
    assert_no_cast_for_nothing(model.proto)


def _assert_sorted(graph: onnx.GraphProto, outer: set[str]) -> None:
    known = outer | {v.name for v in graph.input} | {t.name for t in graph.initializer}
    for n in graph.node:
        assert known.issuperset(name for name in n.input if name), n
        for body in naming.bodies(n):
            _assert_sorted(body, known)
        known |= set(n.output)
    assert known.issuperset(v.name for v in graph.output)


def _unused(proto: onnx.ModelProto) -> set[str]:
    every = list(naming.graphs(proto.graph))
    used = {name for graph in every for n in graph.node for name in n.input}
    used |= {v.name for graph in every for v in graph.output}
    return {t.name for graph in every for t in graph.initializer} - used


def assert_no_cast_for_nothing(proto: onnx.ModelProto) -> None:
    """None to the type that is there, none that undoes a widening one, none that repeats another."""
    types = _declared_types(onnx.shape_inference.infer_shapes(proto).graph)
    wider = {(HALF, FLOAT), (BFLOAT16, FLOAT), (FLOAT, DOUBLE), (HALF, DOUBLE), (BFLOAT16, DOUBLE)}
    found = {n.output[0]: n for g in naming.graphs(proto.graph) for n in g.node if n.op_type == "Cast"}
    for made, cast in found.items():
        (taken,) = cast.input
        if made not in types or taken not in types:  # what another domain makes
            continue
        assert types[taken] != types[made], f"{made} is cast to the type that it has"
        if taken in found:
            (first,) = found[taken].input
            undone = types.get(first) == types[made] and (types[made], types[taken]) in wider
            assert not undone, f"{made} is {first} again"
    inserted = Counter(cast.input[0] for cast in found.values() if "_to_" in cast.name)
    assert max(inserted.values(), default=0) <= 1


def _declared_types(graph: onnx.GraphProto) -> dict[str, int]:
    types: dict[str, int] = {}
    for inner in naming.graphs(graph):
        values = (*inner.value_info, *inner.input, *inner.output)
        types |= {v.name: v.type.tensor_type.elem_type for v in values}
        types |= {t.name: t.data_type for t in inner.initializer}
    return types


def assert_kept(proto: onnx.ModelProto, before: onnx.ModelProto, options: HalfOptions) -> None:
    """Blocked nodes have float32 where they had it, weights included; so has all that they carry."""
    types, old = (
        _declared_types(onnx.shape_inference.infer_shapes(naming.prepared(p)).graph) for p in (proto, before)
    )
    blocked = options.blocks()
    nodes = {n.name: n for graph in naming.graphs(naming.prepared(proto).graph) for n in graph.node}
    for was, keep in walk(naming.prepared(before).graph, blocked):
        if not (keep and was.name) or was.name not in nodes:  # a Cast that did nothing may be gone
            continue
        now = nodes[was.name]
        for a, b in zip((*was.input, *was.output), (*now.input, *now.output), strict=True):
            assert old.get(a) != FLOAT or types[b] == FLOAT, (now.name, b)


def assert_edges(model: Model, before: onnx.ModelProto, keep: bool, half: int = HALF) -> None:
    own = {tensor.name for tensor in before.graph.initializer}
    for field in ("input", "output"):
        old, new = getattr(before.graph, field), getattr(model.proto.graph, field)
        assert [v.name for v in new] == [v.name for v in old]
        for a, b in zip(old, new, strict=True):
            was, is_ = a.type.tensor_type.elem_type, b.type.tensor_type.elem_type
            if field == "input" and a.name in own:
                continue
            assert is_ == (half if was == FLOAT and not keep else was)
            assert b.type.tensor_type.shape == a.type.tensor_type.shape
