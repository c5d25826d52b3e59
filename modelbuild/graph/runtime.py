"""ONNX Runtime over a model whose weights stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as _NoKernel

from modelbuild.graph.files import Array, Model
from modelbuild.machine import cores

CPU = ("CPUExecutionProvider",)
CUDA = ("CUDAExecutionProvider", *CPU)

_FOREIGN = {TensorProto.BFLOAT16}  # types that numpy does not have
# Planning which tensor may take whose place is quadratic in the tensors of unknown shape. It makes a
# run of a simulated ResNet-50 (330 nodes) up to 7 % faster at batch 8, and that of a BERT-base (1100)
# no faster for a quarter of a second; for some thousands of nodes it takes seconds.
_PLANNED = 600


def session(
    model: Model,
    *,
    providers: Sequence[str] = CPU,
    prepack: bool = False,
    as_written: bool = False,
    in_order: bool = False,
    threads: int | None = None,
) -> onnxruntime.InferenceSession:
    """A session on ``model``, without writing it.

    Weights that lie in a file are mapped from it by ONNX Runtime, shared with every other session
    on them; others are handed over from memory. ``prepack`` copies the weights of matrix products
    into a faster order: on BERT-base that costs 0.56 s and 330 MB for the session, and saves 5 %
    of a run at batch 8, sequence 128 (half of one at batch 1, sequence 16).

    ``as_written`` runs the nodes in the order of the graph and optimises nothing, for a graph with
    much to look at in it: ONNX Runtime's own order puts off what nobody waits for, and keeps every
    tensor alive that it will look at (3.7 GB for a BERT-base instead of 0.7). ``in_order`` keeps to the
    order alone. ``threads`` are this process's share of the cores where nothing else is said.

    Raises:
        Exception: whatever ONNX Runtime says of a graph that it cannot load.
    """
    options = _options(threads)
    options.add_session_config_entry("session.disable_prepacking", "0" if prepack else "1")
    # QuantizeLinear and DequantizeLinear as they are: on a processor without VNNI the integer kernels that
    # stand for them saturate (a ResNet-50 has 32.3 dB in float, and 13.4 dB in them).
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.enable_mem_reuse = len(model.proto.graph.node) <= _PLANNED
    if as_written:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if as_written or in_order:
        options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED

    folder = _folder(model)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    names: list[str] = []
    values: list[onnxruntime.OrtValue] = []
    for tensor in proto.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        weight = model.weights[tensor.name]
        if weight.place is not None and weight.place[0].parent == folder:
            file, offset = weight.place
            del tensor.external_data[:]
            entry = {"location": file.name, "offset": offset, "length": weight.nbytes}
            for key, value in entry.items():
                tensor.external_data.add(key=key, value=str(value))
        else:
            names.append(tensor.name)
            values.append(_value(weight.load(), weight.dtype))
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    if names:
        options.add_external_initializers(names, values)
    return onnxruntime.InferenceSession(
        proto.SerializeToString(deterministic=True), options, providers=list(providers)
    )


def session_of_file(
    path: Path, *, extended: bool = False, cuda: bool = False
) -> onnxruntime.InferenceSession:
    """Load a file as its users will; ``extended`` stops short of the highest optimisation level.

    Raises:
        Exception: ONNX Runtime's own, if it does not load.
    """
    options = _options()
    if extended:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    return onnxruntime.InferenceSession(str(path), options, providers=list(CUDA if cuda else CPU))


def lacks_kernels(error: BaseException) -> bool:
    """Whether ONNX Runtime took a graph for valid, but cannot run a node of it in its types."""
    return isinstance(error, _NoKernel)


def has_cuda() -> bool:
    """Whether the installed ONNX Runtime can use an NVIDIA GPU; not whether there is one."""
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _options(threads: int | None = None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or cores.share()
    # Threads that spin between operators take the cores from PyTorch and from other sessions.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _folder(model: Model) -> Path | None:
    """The folder that holds most of the weights' bytes: ONNX Runtime maps from one only."""
    sizes: dict[Path, int] = {}
    for weight in model.weights.values():
        if weight.place is not None:
            parent = weight.place[0].parent
            sizes[parent] = sizes.get(parent, 0) + weight.nbytes
    return max(sizes, key=lambda folder: (sizes[folder], folder), default=None)


def _value(array: Array, dtype: int) -> onnxruntime.OrtValue:
    if dtype in _FOREIGN:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), dtype)
    return onnxruntime.OrtValue.ortvalue_from_numpy(array)
