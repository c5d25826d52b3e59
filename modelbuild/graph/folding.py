"""Weights computed from weights: folded as they are written, never all in memory.

onnxsim folds these too, with every weight copied through it several times. What is left for it is
work on the structure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import onnx.numpy_helper
from onnx import GraphProto, NodeProto, TensorProto

from modelbuild.graph import files, interface
from modelbuild.graph.constants import fold_constants
from modelbuild.graph.files import Array, Model, Weight
from modelbuild.graph.naming import Names, bodies, reads, value_names


def fold_weights(model: Model) -> None:
    """Fold what can be folded without looking at the rest of the graph."""
    fold_constants(model)
    fold_transposes(model)
    _fold_batch_normalizations(model)


def fold_transposes(model: Model) -> None:
    """Turn ``Transpose(weight)`` into a weight, transposed when it is written, and named after it.

    PyTorch keeps a Linear's weight the other way round, so that exporters write one for each. A
    weight that is used elsewhere too (an embedding that is also the head) keeps its Transpose:
    folded, it would be in the file twice.
    """
    graph = model.proto.graph
    kept: list[NodeProto] = []
    tensors = {t.name: t for t in graph.initializer}
    outputs = {o.name for o in graph.output}
    shared = shared_weights(model)
    taken = Names(value_names(graph))
    names: dict[str, str] = {}
    for node in graph.node:
        name = node.input[0] if node.input else ""
        fits = name in model.weights and name not in shared and node.output[0] not in outputs
        if node.op_type != "Transpose" or not fits:
            kept.append(node)
            continue
        weight = model.weights[name]
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        order = order or list(reversed(range(len(weight.dims))))
        dims = tuple(weight.dims[i] for i in order)
        turned = Weight(weight.dtype, dims, weight.nbytes, _turned(weight, order))
        names[node.output[0]] = made = taken.take(f"{name}_transposed")
        model.weights[made] = turned
        tensors[made] = files.empty_initializer(made, weight.dtype, dims)
    if names:
        interface.rename(model, names)
        replace(model, kept, list(tensors.values()))


def _fold_batch_normalizations(model: Model) -> None:
    """Put a BatchNormalization into the Conv before it, where nothing else sees the Conv's output.

    y = (conv(x, W) + b - mean) * scale / sqrt(var + epsilon) + B, channel by channel, is another
    convolution: W * k and (b - mean) * k + B with k = scale / sqrt(var + epsilon). Computed in
    float64, stored in the weights' own type.
    """
    graph = model.proto.graph
    tensors = {t.name: t for t in graph.initializer}
    uses = _uses(graph)
    taken = Names(value_names(graph))
    makers = {n: node for node in graph.node for n in node.output}
    gone: set[str] = set()
    for node in graph.node:
        conv = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or not _foldable(node, conv, tensors, uses):
            continue
        k, shift = _scale_and_shift(model, node, conv, tensors)
        weight = tensors[conv.input[1]]
        dtype, dims = weight.data_type, tuple(weight.dims)
        nbytes = int(np.prod(dims)) * files.numpy_dtype(dtype).itemsize
        name = taken.take(f"{conv.input[1]}_normalized")
        load = _scaled(model, weight, k)
        if conv.input[1] in model.weights:
            model.weights[name] = Weight(dtype, dims, nbytes, load)
            tensors[name] = files.empty_initializer(name, dtype, dims)
        else:
            tensors[name] = onnx.numpy_helper.from_array(load(), name)
        shifted = taken.take(f"{node.input[2]}_normalized")
        tensors[shifted] = onnx.numpy_helper.from_array(shift.astype(files.numpy_dtype(dtype)), shifted)
        del conv.input[1:]
        conv.input.extend([name, shifted])
        conv.output[0] = node.output[0]
        gone.add(node.output[0])
    if gone:
        kept = [n for n in graph.node if n.op_type != "BatchNormalization" or n.output[0] not in gone]
        replace(model, kept, list(tensors.values()))


def _foldable(node: NodeProto, conv: NodeProto, tensors: dict[str, TensorProto], uses: Counter[str]) -> bool:
    """Whether all parameters are weights, in float32, and nobody else sees what would change."""
    if conv.op_type != "Conv" or uses[node.input[0]] != 1 or len([o for o in node.output if o]) != 1:
        return False
    if any(a.name == "training_mode" and a.i for a in node.attribute):
        return False
    names = [*node.input[1:], *(n for n in conv.input[1:] if n)]
    return all(n in tensors and tensors[n].data_type == TensorProto.FLOAT for n in names)


def _scale_and_shift(
    model: Model, node: NodeProto, conv: NodeProto, tensors: dict[str, TensorProto]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    scale, beta, mean, variance = (model.array(tensors[n]).astype(np.float64) for n in node.input[1:5])
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    k = scale / np.sqrt(variance + epsilon)
    bias = conv.input[2] if len(conv.input) > 2 else ""
    start = model.array(tensors[bias]).astype(np.float64) if bias else 0.0
    return k, (start - mean) * k + beta


def _scaled(model: Model, weight: TensorProto, k: npt.NDArray[np.float64]) -> Callable[[], Array]:
    kept = model.weights.get(weight.name)
    small = None if kept else onnx.numpy_helper.to_array(weight)

    def load() -> Array:
        array = kept.load() if kept else small
        assert array is not None
        factors = k.reshape(-1, *[1] * (array.ndim - 1))
        return np.asarray(array.astype(np.float64) * factors, array.dtype)

    return load


def replace(model: Model, nodes: Sequence[NodeProto], tensors: Sequence[TensorProto]) -> None:
    """These nodes, and of these weights those that are still used."""
    graph = model.proto.graph
    kept = GraphProto(node=nodes, initializer=tensors)
    del graph.node[:]
    graph.node.extend(kept.node)
    needed = {o.name for o in graph.output}.union(*map(reads, kept.node))
    del graph.initializer[:]
    graph.initializer.extend(t for t in kept.initializer if t.name in needed)
    model.weights = {n: w for n, w in model.weights.items() if n in needed}


def shared_weights(model: Model) -> set[str]:
    """Weights that are used more than once."""
    uses = _uses(model.proto.graph)
    return {name for name in model.weights if uses[name] > 1}


def _uses(graph: GraphProto) -> Counter[str]:
    """How often each value is used, as an output of the graph or inside a body too."""
    uses = Counter(o.name for o in graph.output)
    for node in graph.node:
        uses.update(node.input)
        for inner in bodies(node):
            uses.update(value_names(inner))
    return uses


def _turned(weight: Weight, order: list[int]) -> Callable[[], Array]:
    return lambda: np.ascontiguousarray(np.transpose(weight.load(), order))
