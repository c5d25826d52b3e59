"""QuantizeLinear as the arithmetic that it stands for.

ONNX Runtime moves QuantizeLinear nodes through what only moves values, also where others read what is not
quantized there (1.32, from its basic optimisation level on). A proof that runs them may so judge another
graph than the file's; of plain arithmetic there is nothing to move.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto
from onnx.helper import make_node

from modelbuild.graph.naming import Names

_BOUNDS = {
    int(TensorProto.INT8): (-128, 127), int(TensorProto.UINT8): (0, 255),
    int(TensorProto.INT16): (-(2**15), 2**15 - 1), int(TensorProto.UINT16): (0, 2**16 - 1),
}  # fmt: skip


def is_whole(elem_type: int) -> bool:
    """Whether this is a type of whole numbers that values are quantized to here."""
    return elem_type in _BOUNDS


def begins(node: NodeProto) -> bool:
    """Whether a node that stands before a DequantizeLinear is the first of those that round for it."""
    return node.op_type in ("Div", "QuantizeLinear")


def rounded(
    source: str, scale: str, zero: int, elem_type: int, target: str, names: Names
) -> Iterator[NodeProto]:
    """Nodes that make ``target``: the float32 ``source`` over ``scale``, to the nearest whole number, ties to
    even, with ``zero`` added, within ``elem_type``; still in float32."""
    ratio, made = names.take(f"{target}_ratio"), names.take(f"{target}_nearest")
    yield make_node("Div", [source, scale], [ratio], names.take(ratio))
    yield make_node("Round", [ratio], [made], names.take(made))
    if zero:
        offset, name = names.take(f"{target}_zero"), names.take(f"{target}_moved")
        yield constant(offset, float(zero), names)
        yield make_node("Add", [made, offset], [name], names.take(name))
        made = name
    low, high = names.take(f"{target}_low"), names.take(f"{target}_high")
    yield constant(low, float(_BOUNDS[elem_type][0]), names)
    yield constant(high, float(_BOUNDS[elem_type][1]), names)
    yield make_node("Clip", [made, low, high], [target], names.take(f"{target}_clip"))


def constant(name: str, value: float, names: Names) -> NodeProto:
    """A float32 scalar."""
    tensor = onnx.numpy_helper.from_array(np.array(value, np.float32))
    return make_node("Constant", [], [name], names.take(name), value=tensor)
