"""Fourier transforms of a short fixed length, as the matrix product that they are.

A spectrogram's window, or a grid whose size the recipe fixes, is exported as a DFT, which ONNX Runtime
computes on a CPU only and TensorRT not at all. Of up to a thousand values the product with a table of
sines and cosines costs no more than that DFT does, and runs everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import onnx.numpy_helper
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from modelbuild.graph.files import ON_DISK_FROM, Array, Model, empty_initializer, numpy_dtype, weight_of
from modelbuild.graph.naming import Names, graphs, set_nodes
from modelbuild.graph.shapes import inferred
from modelbuild.graph.types import attribute, domain

_AXIS_IS_AN_INPUT = 20  # of DFT, since this opset
_LARGEST = 2**21  # elements of a table: 8 MiB in float32; a window of 1024 real values has half of that
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})


@dataclass(frozen=True)
class _Transform:
    """A DFT over ``axis`` of ``rank``, of ``size`` values with ``parts`` (1 real, 2 complex) components.

    ``length`` is what they are cut or filled up to; ``onesided`` leaves out the half that mirrors the other,
    of what comes out or, in an inverse, of what goes in: then the values that come out are real.
    """

    axis: int
    rank: int
    size: int
    parts: int
    length: int
    inverse: bool
    onesided: bool
    kind: int  # TensorProto.DataType

    @property
    def count(self) -> int:
        """How many values come out."""
        return self.length // 2 + 1 if self.onesided and not self.inverse else self.length

    @property
    def made(self) -> int:
        """Of how many components each."""
        return 1 if self.onesided and self.inverse else 2

    @property
    def elements(self) -> int:
        return self.size * self.parts * self.count * self.made

    def table(self) -> Array:
        """What the values, components beside each other, are multiplied by: [size * parts, count * made]."""
        turns = [2 * math.pi * i / self.length for i in range(self.length)]
        # Rounded, so that a right angle's cosine is zero, and no library's last bit is seen.
        cosines, sines = (np.array([round(of(t), 15) for t in turns]) for of in (math.cos, math.sin))
        mirrored = self.onesided and self.inverse
        taken = min(self.size, self.length // 2 + 1 if mirrored else self.length)
        at = np.outer(np.arange(taken), np.arange(self.count)) % self.length
        real, imaginary = cosines[at], sines[at] * (1 if self.inverse else -1)
        table = np.zeros((self.size, self.parts, self.count, 2))
        table[:taken, 0] = np.stack([real, imaginary], -1)
        if self.parts == 2:
            table[:taken, 1] = np.stack([-imaginary, real], -1)
        if mirrored:
            table[1 : (self.length + 1) // 2] *= 2  # all but those that are their own mirror images
        if self.inverse:
            table /= self.length
        return table[..., : self.made].reshape(self.size * self.parts, -1).astype(numpy_dtype(self.kind))


def as_products(model: Model) -> None:
    """Write each DFT of the main graph whose size is fixed, and whose table is not large, as a MatMul.

    Sizes and types are those that inference finds.
    """
    graph = model.proto.graph
    if not any(n.op_type == "DFT" and not domain(n) for n in graph.node):
        return
    known, writing = _Known(model), _Writing(model)
    nodes: list[NodeProto] = []
    given = {name for node in graph.node if node.op_type == "DFT" for name in node.input[1:]}
    for node in graph.node:
        found = known.transform(node)
        nodes += writing.product(node, found) if found and found.elements <= _LARGEST else [node]
    set_nodes(graph, nodes)
    _drop_unread(model, given)


def _drop_unread(model: Model, names: Collection[str]) -> None:
    """Without those of these constants that no node reads any more."""
    graph = model.proto.graph
    used = {name for inner in graphs(graph) for n in inner.node for name in n.input}
    for index in reversed(range(len(graph.initializer))):
        name = graph.initializer[index].name
        if name in names and name not in used:
            del graph.initializer[index]


class _Known:
    """What the graph says of its DFTs."""

    def __init__(self, model: Model) -> None:
        graph = inferred(model.proto).graph  # an exporter need not say what lies between its nodes
        self.opset = model.opset
        self.declared = {v.name: v.type.tensor_type for v in (*graph.input, *graph.value_info)}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.constants = {t.name: t for t in graph.initializer if t.name not in model.weights}

    def transform(self, node: NodeProto) -> _Transform | None:
        """What a node computes; None for another operator, and where that is not fixed."""
        if node.op_type != "DFT" or domain(node) or node.input[0] not in self.declared:
            return None
        kind, shape = self.declared[node.input[0]], self._shape(node.input[0])
        numbers = [self._number(name) if name else None for name in node.input[1:]]
        if any(name and n is None for n, name in zip(numbers, node.input[1:], strict=True)):
            return None
        length, axis, *_ = [*numbers, None, None]
        if self.opset < _AXIS_IS_AN_INPUT:
            axis = a.i if (a := attribute(node, "axis")) else 1
        if len(shape) < 2 or kind.elem_type not in _FLOATS:
            return None
        axis = (-2 if axis is None else axis) % len(shape)
        size, parts = shape[axis], shape[-1]
        if axis == len(shape) - 1 or not size or parts not in (1, 2):
            return None
        inverse, onesided = (bool(a and a.i) for a in (attribute(node, n) for n in ("inverse", "onesided")))
        if inverse and onesided and (length is None or parts == 1):
            return None
        return _Transform(axis, len(shape), size, parts, length or size, inverse, onesided, kind.elem_type)

    def _shape(self, name: str) -> list[int]:
        """The sizes of a tensor, 0 where one varies."""
        return [d.dim_value for d in self.declared[name].shape.dim]

    def _number(self, name: str) -> int | None:
        """A constant, or a size that does not vary."""
        if name in self.constants:
            return int(onnx.numpy_helper.to_array(self.constants[name]).reshape(-1)[0])
        maker = self.makers.get(name)
        if maker is None:
            return None
        if maker.op_type == "Constant" and (value := attribute(maker, "value")):
            return int(onnx.numpy_helper.to_array(value.t).reshape(-1)[0])
        if maker.op_type in ("Squeeze", "Reshape", "Identity"):
            return self._number(maker.input[0])
        if maker.op_type == "Shape" and maker.input[0] in self.declared:
            start, end = (a.i if (a := attribute(maker, n)) else None for n in ("start", "end"))
            sizes = self._shape(maker.input[0])[start:end]
            return sizes[0] or None if len(sizes) == 1 else None
        return None


class _Writing:
    """Nodes in the place of a DFT, and the tables that they read: one for all that are alike."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.names = Names.of(model.proto)
        self.known: dict[tuple[object, ...], str] = {}

    def product(self, node: NodeProto, of: _Transform) -> Iterator[NodeProto]:
        """The axis next to the components, both as one, the product, and back again."""
        (made,) = node.output
        order = [a for a in range(of.rank - 1) if a != of.axis] + [of.axis, of.rank - 1]
        back = [order.index(a) for a in range(of.rank)]
        moves = order != back or order != list(range(of.rank))
        last = node.input[0]
        if moves:
            last, given = self.names.take(f"{made}_last"), last
            yield make_node("Transpose", [given], [last], last, perm=order)
        flat, product = (self.names.take(f"{made}_{part}") for part in ("flat", "product"))
        same = [0] * (of.rank - 2)
        yield make_node("Reshape", [last, self._sizes([*same, of.size * of.parts])], [flat], flat)
        yield make_node("MatMul", [flat, self._table(of)], [product], node.name or product)
        apart = self.names.take(f"{made}_apart") if moves else made
        yield make_node(
            "Reshape", [product, self._sizes([*same, of.count, of.made])], [apart], f"{product}_apart"
        )
        if moves:
            yield make_node("Transpose", [apart], [made], apart, perm=back)

    def _sizes(self, sizes: list[int]) -> str:
        return self._kept(("sizes", *sizes), "spectrum_sizes", np.array(sizes, np.int64))

    def _table(self, of: _Transform) -> str:
        key = (of.size, of.parts, of.length, of.inverse, of.onesided, of.kind)
        return self._kept(key, "spectrum_table", None if key in self.known else of.table())

    def _kept(self, key: tuple[object, ...], name: str, values: Array | None) -> str:
        if key not in self.known and values is not None:
            made = self.known[key] = self.names.take(name)
            tensor = onnx.numpy_helper.from_array(values, made)
            if values.nbytes > ON_DISK_FROM:
                self.model.weights[made] = weight_of(values, tensor.data_type)
                tensor = empty_initializer(made, tensor.data_type, tuple(values.shape))
            self.model.proto.graph.initializer.append(tensor)
        return self.known[key]
