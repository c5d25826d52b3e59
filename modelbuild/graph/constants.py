"""What an exporter computes from constants alone, computed.

PyTorch's dynamo exporter writes the bias that a convolution does not have as
``Expand(CastLike(0, input), Shape(weight)[0:1])``. onnxsim leaves the ``CastLike``, since it looks
at an input, if only at its type; and a convolution whose bias is computed cannot take the
BatchNormalization behind it. Types are known here, so the rest follows.
"""

from __future__ import annotations

import numpy as np
import onnx.numpy_helper
from onnx import NodeProto, TensorProto

from modelbuild.graph.files import Array, Model, numpy_dtype
from modelbuild.graph.naming import graphs, set_nodes
from modelbuild.graph.types import attribute, domain, tensor_types

_LARGEST = 1 << 16  # bytes; what is larger stays computed, so that the file does not grow
_ELEMENT_TYPES = {f"tensor({name.lower()})": number for name, number in TensorProto.DataType.items()}


def fold_constants(model: Model) -> None:
    """Replace Shape of a weight, CastLike and Expand of constants by what they give.

    A CastLike of anything else becomes the Cast that it is. Bodies of If, Loop and Scan get their
    Casts, too; constants are folded in the main graph.
    """
    _name_types(model)
    graph = model.proto.graph
    dims = {t.name: tuple(t.dims) for t in graph.initializer}
    known = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer if t.name not in model.weights}
    kept: list[NodeProto] = []
    outputs = {o.name for o in graph.output}
    folded: dict[str, Array] = {}
    for node in graph.node:
        value = _value(node, known, dims)
        if value is None or value.nbytes > _LARGEST:
            kept.append(node)
            continue
        known[node.output[0]] = value
        if node.op_type == "Constant" or node.output[0] in outputs:
            kept.append(node)
        else:
            folded[node.output[0]] = value
    if folded:
        set_nodes(graph, kept)
        graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in folded.items())


def _name_types(model: Model) -> None:
    """Turn each CastLike whose second input has a known type into a Cast to that type."""
    found = [
        n for g in graphs(model.proto.graph) for n in g.node if n.op_type == "CastLike" and not domain(n)
    ]
    types = tensor_types(model.proto) if found else {}
    for node in found:
        to = _ELEMENT_TYPES.get(types.get(node.input[1], ""))
        if to is not None:
            node.op_type = "Cast"
            del node.input[1]
            node.attribute.append(onnx.helper.make_attribute("to", to))


def _value(node: NodeProto, known: dict[str, Array], dims: dict[str, tuple[int, ...]]) -> Array | None:
    """What a node gives, where that follows from constants; None otherwise."""
    if domain(node) or len(node.output) != 1:
        return None
    given = [known.get(name) for name in node.input]
    match node.op_type:
        case "Constant":
            return _constant(node)
        case "Shape" if node.input[0] in dims:
            start, end = attribute(node, "start"), attribute(node, "end")
            shape = dims[node.input[0]][start.i if start else 0 : end.i if end else None]
            return np.array(shape, np.int64)
        case "Cast" if given[0] is not None and (to := attribute(node, "to")) is not None:
            if given[0].dtype.kind not in "fiub" or to.i not in _PLAIN:
                return None
            with np.errstate(all="ignore"):
                return np.asarray(given[0].astype(numpy_dtype(to.i)))
        case "Expand" if given[0] is not None and given[1] is not None:
            wanted = tuple(int(n) for n in given[1])
            size = np.prod(wanted, dtype=np.float64) * given[0].size * given[0].itemsize
            if size > _LARGEST:
                return None
            return np.array(np.broadcast_to(given[0], np.broadcast_shapes(given[0].shape, wanted)))
        case _:
            return None


def _constant(node: NodeProto) -> Array | None:
    given = node.attribute[0]
    match given.name:
        case "value":
            return np.asarray(onnx.numpy_helper.to_array(given.t))
        case "value_int" | "value_ints":
            return np.array(onnx.helper.get_attribute_value(given), np.int64)
        case "value_float" | "value_floats":
            return np.array(onnx.helper.get_attribute_value(given), np.float32)
        case _:  # strings, and sparse values
            return None


# numpy casts between these as ONNX does; what float-to-integer overflow gives is undefined in both.
_PLAIN = frozenset({
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16,
    TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL,
})  # fmt: skip
