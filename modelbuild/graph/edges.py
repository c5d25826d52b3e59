"""The types of a graph's inputs and outputs, set without touching what it computes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto

from modelbuild.graph import interface
from modelbuild.graph.files import Model
from modelbuild.graph.naming import Names, graphs, prepared, set_nodes
from modelbuild.graph.types import SHORT, type_name


def with_edge_types(model: Model, wanted: Mapping[str, int]) -> Model:
    """The same graph, whose inputs and outputs have the element types in ``wanted``.

    For graphs that were exported in half precision: ``model.half()`` gives half edges where the
    recipe may ask for float32. Edges not named keep their type. Names and order stay; a Cast
    stands behind each changed input and before each changed output. A tensor that is both an
    input and an output has one type.
    """
    proto = prepared(model.proto)
    main, names = proto.graph, Names.of(proto)
    weights = {tensor.name for tensor in main.initializer}
    inner: dict[str, str] = {}  # edge -> the tensor inside that has the graph's own type
    first: list[NodeProto] = []
    last: list[NodeProto] = []
    inputs = {v.name: v for v in main.input if v.name not in weights}
    outputs = {v.name: v for v in main.output if v.name not in inputs}
    for name, value in (*inputs.items(), *outputs.items()):
        own = value.type.tensor_type.elem_type
        to = wanted.get(name, own)
        if to == own or not value.type.HasField("tensor_type"):
            continue
        inner[name] = names.take(f"{name}_{_short(own)}")
        if name in inputs:
            first.append(_cast(name, inner[name], own, names.take(f"{name}_to_{_short(own)}")))
        else:
            last.append(_cast(inner[name], name, to, names.take(f"{name}_to_{_short(to)}")))
        value.type.tensor_type.elem_type = to
    for value in main.output:  # listed twice, or an input
        if value.name in inner:
            value.type.tensor_type.elem_type = wanted[value.name]
    for graph in graphs(main):
        _rename(graph, inner, edges=graph is not main)
    set_nodes(main, [*first, *main.node, *last])
    return Model(proto, {inner.get(name, name): w for name, w in model.weights.items()})


def with_numpy_edges(model: Model) -> Model:
    """The same graph, whose bfloat16 inputs and outputs are float32: numpy has no such type.

    What comes in is rounded by a Cast, as it would have been by the caller.
    """
    edges = (*interface.inputs(model), *interface.outputs(model))
    foreign = {p.name: int(TensorProto.FLOAT) for p in edges if p.dtype == TensorProto.BFLOAT16}
    return with_edge_types(model, foreign) if foreign else model


def _rename(graph: GraphProto, inner: Mapping[str, str], edges: bool) -> None:
    values: list[ValueInfoProto] = [*graph.value_info, *(graph.output if edges else ())]
    for value in values:
        value.name = inner.get(value.name, value.name)
    for tensor in graph.initializer:
        tensor.name = inner.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [inner.get(name, name) for name in node.input]
        node.output[:] = [inner.get(name, name) for name in node.output]


def _cast(source: str, target: str, to: int, title: str) -> NodeProto:
    return onnx.helper.make_node("Cast", [source], [target], title, to=to)


def _short(elem_type: int) -> str:
    return SHORT.get(elem_type, type_name(elem_type))
