"""A float32 graph whose constants are as far from zero as half precision holds, and no farther."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, TensorProto

from modelbuild.graph.files import Array, Model, Weight
from modelbuild.graph.naming import graphs


def clipped(model: Model, largest: float) -> Model:
    """The model with every finite constant between ``-largest`` and ``largest``; the rest is shared."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    weights = dict(model.weights)
    for graph in graphs(proto.graph):
        for tensor in graph.initializer:
            if tensor.data_type == TensorProto.FLOAT and tensor.data_location == TensorProto.EXTERNAL:
                weights[tensor.name] = _clipped_weight(weights[tensor.name], largest)
            else:
                _clip(tensor, largest)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    _clip(attribute.t, largest)
                elif node.op_type == "Constant" and attribute.type == AttributeProto.FLOAT:
                    attribute.f = float(_within(np.array(attribute.f, np.float32), largest))
                elif node.op_type == "Constant" and attribute.type == AttributeProto.FLOATS:
                    attribute.floats[:] = _within(np.array(attribute.floats, np.float32), largest).tolist()
    return Model(proto, weights)


def _clip(tensor: TensorProto, largest: float) -> None:
    if tensor.data_type != TensorProto.FLOAT or tensor.data_location == TensorProto.EXTERNAL:
        return
    values = onnx.numpy_helper.to_array(tensor)
    if _is_beyond(values, largest):
        tensor.CopyFrom(onnx.numpy_helper.from_array(_within(values, largest), tensor.name))


def _clipped_weight(weight: Weight, largest: float) -> Weight:
    if not _is_beyond(weight.load(), largest):
        return weight
    return replace(weight, load=lambda: _within(weight.load(), largest), place=None)


def _is_beyond(values: Array, largest: float) -> bool:
    return bool(np.any(np.isfinite(values) & (np.abs(values) > largest)))


def _within(values: Array, largest: float) -> Array:
    """Infinity stays: it is what half precision holds, too."""
    floats = np.asarray(values, np.float32)
    return np.where(np.isfinite(floats), np.clip(floats, -largest, largest), floats).astype(np.float32)
