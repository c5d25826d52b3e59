"""A graph in half precision: every tensor float32 or half, with Casts where the two meet.

Each float32 tensor has a home, the precision its node makes it in (``placement`` decides), and at
most one more version, made by a Cast right behind that node. So a Cast is never repeated, never
undone and never out of order, and a body of an If, Loop or Scan finds what it names outside.
Weights have no Casts: each wanted precision is a weight of its own, rounded when it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from modelbuild.base.errors import Diagnostic
from modelbuild.graph import masks
from modelbuild.graph.casts import drop_redundant_casts
from modelbuild.graph.files import Array, Model, Weight, empty_initializer, numpy_dtype
from modelbuild.graph.naming import Names, graphs, label, prepared, set_nodes
from modelbuild.graph.placement import Placement, place
from modelbuild.graph.rounding import BOUNDS, Band, Clamping, to_half
from modelbuild.graph.shapes import forget
from modelbuild.graph.types import (
    FLOAT,
    SHORT,
    attribute,
    domain,
    tensor_types,
    type_name,
)
from modelbuild.wording.phrases import meant, nearest


@dataclass(frozen=True)
class HalfOptions:
    """onnxconverter-common's options, names and meanings; ``dtype`` is the half to convert to.

    ``op_block_list=None`` is their ``DEFAULT_OP_BLOCK_LIST``. A node without a name is blocked by
    the name of its first output. ``disable_shape_infer`` keeps ONNX's shape inference from being
    asked for types that operator schemas leave open. The bounds are those of ``dtype`` by default.
    """

    keep_io_types: bool = True
    disable_shape_infer: bool = False
    op_block_list: tuple[str, ...] | None = None
    node_block_list: tuple[str, ...] = ()
    min_positive_val: float | None = None
    max_finite_val: float | None = None
    dtype: int = TensorProto.FLOAT16

    @property
    def half(self) -> str:
        """The type to convert to, as schemas write it."""
        return f"tensor({type_name(self.dtype)})"

    def bounds(self) -> Band:
        """The range that values are clamped into."""
        own = BOUNDS[self.dtype]
        return Band(
            own.smallest if self.min_positive_val is None else self.min_positive_val,
            own.largest if self.max_finite_val is None else self.max_finite_val,
        )

    def blocks(self) -> Callable[[NodeProto], bool]:
        """Whether a node is kept in float32 because its name or its operator is listed."""
        ops, nodes = self._blocked_ops(), frozenset(self.node_block_list)
        return lambda node: node.op_type in ops or label(node) in nodes

    def _blocked_ops(self) -> frozenset[str]:
        return _default_op_block_list() if self.op_block_list is None else frozenset(self.op_block_list)


def _default_op_block_list() -> frozenset[str]:
    from onnxconverter_common.float16 import DEFAULT_OP_BLOCK_LIST

    return frozenset(DEFAULT_OP_BLOCK_LIST)


def convert(model: Model, options: HalfOptions) -> tuple[Model, tuple[Diagnostic, ...]]:
    """The same graph in half precision, and what had to be clamped for it.

    Inputs and outputs keep names and order; with ``keep_io_types`` also their types, else float32
    ones become half. Other types, half ones included, stay as they are. An initializer that is
    listed as an input too is a weight: its type follows its users. Large weights are rounded when
    they are loaded; here they are only looked through, one at a time.
    """
    proto = prepared(model.proto)
    types = tensor_types(proto, infer=not options.disable_shape_infer)
    edge = FLOAT if options.keep_io_types else options.half
    placement = place(proto, types, options.half, edge, options.blocks())
    unknown = (*unknown_ops(proto, options.op_block_list), *unknown_nodes(proto, options.node_block_list))
    conversion = _Conversion(model, proto, types, placement, options)
    half = conversion.run()
    clamped = conversion.clamping.diagnostics(lambda low: masks.fills(prepared(model.proto), low))
    return half, (*clamped, *unknown)


def unknown_ops(proto: ModelProto, wanted: tuple[str, ...] | None) -> Iterator[Diagnostic]:
    """A list is written for many graphs, so only what neither ONNX nor this graph has is a mistake."""
    if not wanted:
        return
    used = {node.op_type for graph in graphs(proto.graph) for node in graph.node}
    known = used | _default_op_block_list()
    known |= {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    for name in wanted:
        if name not in known:
            yield _unknown(
                "op_block_list", f"the operator {name!r}", "neither ONNX nor the graph has", name, known
            )


def unknown_nodes(proto: ModelProto, wanted: tuple[str, ...]) -> Iterator[Diagnostic]:
    """A word on each name of a list of nodes that no node has."""
    known = {label(node) for graph in graphs(proto.graph) for node in graph.node}
    for name in wanted:
        if name not in known:
            hint = "`modelbuild inspect --nodes` lists those of a file, with the model's lines"
            yield _unknown(
                "node_block_list", f"the node {name!r}", "the graph does not have", name, known, hint
            )


def _unknown(
    key: str, what: str, why: str, name: str, known: set[str], hint: str | None = None
) -> Diagnostic:
    near = nearest(name, sorted(known), longest=200, most=10_000)
    return Diagnostic(
        "recipe-invalid",
        f"`{key}` names {what}, which {why}",
        hint=meant(near) or hint,
        level="warning",
    )


class _Conversion:
    """Rewrites ``proto`` in place to what ``placement`` says."""

    def __init__(
        self,
        model: Model,
        proto: ModelProto,
        types: dict[str, str],
        placement: Placement,
        options: HalfOptions,
    ) -> None:
        self.model, self.proto, self.types, self.placement = model, proto, types, placement
        self.half = placement.half
        self.numbers = {FLOAT: int(TensorProto.FLOAT), self.half: options.dtype}
        self.edge = FLOAT if options.keep_io_types else self.half
        self.clamping = Clamping(options.bounds(), options.dtype)
        self.outputs = {v.name for v in proto.graph.output if types.get(v.name) == FLOAT}
        self.names = Names.of(proto)
        self.named: dict[tuple[str, str], str] = {}
        self.weights: dict[str, Weight] = {}

    def run(self) -> Model:
        behind = dict(self._casts())  # what stands right behind the definition of a tensor
        types = dict(self._new_types())
        forget(self.proto.graph)
        called = [label(step.node) for step in self.placement.steps]
        for step in self.placement.steps:
            self._set_output_type(step.node)
            for port in step.ports:
                type_ = self.placement.at(step, port)
                port.rename(self.name(port.tensor, type_))
                if port.formal is not None:
                    self._retype(port.formal, type_)
        self._keep_labels(called)
        for value in self.proto.graph.input:
            if self.types.get(value.name) == FLOAT:
                self._retype(value, self.placement.home.get(value.name, FLOAT))
        for value in self.proto.graph.output:
            if value.name in self.outputs:
                self._retype(value, self.edge)
        for graph in graphs(self.proto.graph):
            self._initializers(graph)
            self._insert(graph, behind)
        drop_redundant_casts(self.proto, types)
        return Model(self.proto, self.weights)

    def name(self, tensor: str, type_: str) -> str:
        """The name of one version of a tensor: its own for its home, or for the model's output."""
        own = self.edge if tensor in self.outputs else self.placement.home.get(tensor, FLOAT)
        if type_ == own:
            return tensor
        if (tensor, type_) not in self.named:
            self.named[tensor, type_] = self.names.take(f"{tensor}_{SHORT[self.numbers[type_]]}")
        return self.named[tensor, type_]

    def _versions(self, tensor: str) -> list[str]:
        """The precisions in which a tensor exists, its home first."""
        home = self.placement.home.get(tensor, FLOAT)
        other = self.half if home == FLOAT else FLOAT
        return [home, other] if other in self.placement.wanted[tensor] else [home]

    def _new_types(self) -> Iterator[tuple[str, str]]:
        """The tensors that there will be, with their types."""
        for tensor, type_ in self.types.items():
            for version in self._versions(tensor) if type_ == FLOAT else [""]:
                yield (self.name(tensor, version), version) if version else (tensor, type_)

    # ---- nodes ---------------------------------------------------------------------------------

    def _keep_labels(self, called: list[str]) -> None:
        """Name the nodes that went by the name of a tensor that has another one now."""
        nodes = [step.node for step in self.placement.steps]
        taken = {node.name for node in nodes}
        for node, was in zip(nodes, called, strict=True):
            if label(node) != was and was not in taken:
                node.name = was
                taken.add(was)

    def _casts(self) -> Iterator[tuple[str, NodeProto]]:
        """``(name of the home, node that makes the other version)``."""
        weights = self._plain_weights()
        constants = {s.node.output[0]: s.node for s in self.placement.steps if _is_constant(s.node)}
        for tensor, type_ in self.types.items():
            versions = self._versions(tensor) if type_ == FLOAT and tensor not in weights else []
            if len(versions) < 2:
                continue
            home, other = (self.name(tensor, version) for version in versions)
            title = self.names.take(f"{tensor}_to_{SHORT[self.numbers[versions[1]]]}")
            if tensor in constants:  # rounded and clamped as weights are, which a Cast would not do
                node = NodeProto()
                node.CopyFrom(constants[tensor])
                node.name, node.output[0] = title, other
                self._halve_constant(node, tensor)
            else:
                node = onnx.helper.make_node("Cast", [home], [other], title, to=self.numbers[versions[1]])
            yield home, node

    def _insert(self, graph: GraphProto, behind: dict[str, NodeProto]) -> None:
        """Put each node of ``behind`` right behind what defines the tensor of its key."""
        listed = [value.name for value in graph.input]
        sparse = [tensor.values.name for tensor in graph.sparse_initializer]
        nodes = [behind[name] for name in (*listed, *sparse) if name in behind]
        for node in graph.node:
            nodes.append(node)
            nodes.extend(behind[name] for name in node.output if name in behind)
        if len(nodes) > len(graph.node):
            set_nodes(graph, nodes)

    def _set_output_type(self, node: NodeProto) -> None:
        """Bring the attributes that say a node's output type into line with its home."""
        tensor = node.output[0] if node.output else ""
        if domain(node) or self.types.get(tensor) != FLOAT:
            return
        home = self.placement.home.get(tensor, FLOAT)
        if _is_constant(node):
            if home == self.half:
                self._halve_constant(node, tensor)
            return
        name = {"Cast": "to", "DequantizeLinear": "output_dtype"}.get(node.op_type, "")
        if (given := attribute(node, name)) and given.i:
            given.i = self.numbers[home]

    def _halve_constant(self, node: NodeProto, tensor: str) -> None:
        """Put rounded values into a Constant or ConstantOfShape."""
        values = _constant_values(node)
        self.clamping.look_at(tensor, values)
        del node.attribute[:]
        node.attribute.append(onnx.helper.make_attribute("value", self._rounded(values, "")))

    def _rounded(self, values: Array, name: str) -> TensorProto:
        half = to_half(values, self.numbers[self.half], self.clamping.bounds)
        return onnx.numpy_helper.from_array(half, name)

    # ---- weights and what is said of tensors -----------------------------------------------------

    def _plain_weights(self) -> set[str]:
        """Initializers that no graph lists among its inputs: they need no Casts."""
        plain: set[str] = set()
        for graph in graphs(self.proto.graph):
            plain |= {t.name for t in graph.initializer} - {v.name for v in graph.input}
        return plain

    def _initializers(self, graph: GraphProto) -> None:
        listed = {value.name for value in graph.input}
        tensors: list[TensorProto] = []
        for tensor in graph.initializer:
            if tensor.data_type != TensorProto.FLOAT:
                versions = [""]
            elif tensor.name in listed:
                versions = self._versions(tensor.name)[:1]
            else:
                versions = self._versions(tensor.name)
            tensors += [self._version_of_weight(tensor, type_) for type_ in versions]
        kept = GraphProto(initializer=tensors)
        del graph.initializer[:]
        graph.initializer.extend(kept.initializer)

    def _version_of_weight(self, tensor: TensorProto, type_: str) -> TensorProto:
        weight = self.model.weights.get(tensor.name) if _is_external(tensor) else None
        if type_ != self.half:
            kept = TensorProto()
            kept.CopyFrom(tensor)
            kept.name = self.name(tensor.name, type_) if type_ else tensor.name
            if weight is not None:
                self.weights[kept.name] = weight
            return kept
        name, dtype = self.name(tensor.name, type_), self.numbers[type_]
        bounds = self.clamping.bounds
        values = self.model.array(tensor)
        self.clamping.look_at(tensor.name, values)
        if weight is None:
            return self._rounded(values, name)
        weight.release()
        nbytes = values.size * numpy_dtype(dtype).itemsize
        self.weights[name] = Weight(
            dtype,
            weight.dims,
            nbytes,
            lambda: to_half(weight.load(), dtype, bounds),
            release=weight.release,
        )
        return empty_initializer(name, dtype, weight.dims)

    def _retype(self, value: ValueInfoProto, type_: str) -> None:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.elem_type = self.numbers[type_]


def _is_external(tensor: TensorProto) -> bool:
    return tensor.data_location == TensorProto.EXTERNAL


def _is_constant(node: NodeProto) -> bool:
    """Whether a node holds values that can be rounded beforehand."""
    if domain(node) or node.op_type not in ("Constant", "ConstantOfShape"):
        return False
    return attribute(node, "sparse_value") is None


def _constant_values(node: NodeProto) -> Array:
    if not node.attribute:  # ConstantOfShape's default
        return np.zeros(1, np.float32)
    given = node.attribute[0]
    match given.name:
        case "value_float":
            return np.array(given.f, np.float32)
        case "value_floats":
            return np.array(given.floats, np.float32)
        case _:
            return onnx.numpy_helper.to_array(given.t)
