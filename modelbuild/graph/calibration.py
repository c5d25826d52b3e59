"""The range of every activation over many samples, from which int8 gets its scales.

Everything is reduced inside the graph, as each tensor is made: of a run there are three numbers for a tensor,
or one histogram. So a run keeps no more tensors alive than any other, and neither their number nor that of
the samples counts. One pass finds the extremes. All but ``minmax`` take a second one, which fills a histogram
of magnitudes up to the largest that the first has found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto
from onnx.helper import make_node, make_tensor_value_info

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.graph.clipping import BINS, Method, bins_kept
from modelbuild.graph.files import Array, Model
from modelbuild.graph.naming import Names, prepared, reads, set_nodes
from modelbuild.graph.opset import converted
from modelbuild.graph.runtime import session
from modelbuild.graph.types import FLOAT, tensor_types

Batches = Callable[[], Iterator[Mapping[str, Array]]]

THREADS = 4
"""Not as many as there are cores: ONNX Runtime cuts the sums of a convolution by the number of its threads,
so that with others the last digit of a threshold would be another."""

_SCATTERS_FROM = 16  # the opset whose ScatterElements adds


@dataclass(frozen=True)
class Threshold:
    """The least and the largest value that a tensor held, and the magnitude at which int8 ends.

    Where one of its values was no number, or it never held any, none of them is one.
    """

    low: float
    high: float
    threshold: float

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.threshold)


def thresholds(
    model: Model, tensors: Sequence[str], batches: Batches, method: Method
) -> dict[str, Threshold]:
    """The thresholds of these tensors of the main graph, over all samples, in their order.

    ``batches`` gives the samples anew each time, as arrays of the types of the model's inputs. Names are
    those of ``naming.prepared``.

    Raises:
        StepError: ``opset-mismatch``: all but ``minmax`` need opset 16, and the graph cannot be raised.
        Exception: whatever ONNX Runtime says of a sample.
    """
    tensors = tuple(dict.fromkeys(tensors))
    found = _extremes(model, tensors, batches()) if tensors else {}
    if method == "minmax":
        return found
    tops = {name: row.threshold for name, row in found.items() if _has_bins(row.threshold)}
    chosen = {
        name: bins_kept(counts, method) * tops[name] / BINS
        for name, counts in _histograms(model, tops, batches())
    }
    return {
        name: Threshold(row.low, row.high, chosen.get(name, row.threshold)) for name, row in found.items()
    }


def _has_bins(top: float) -> bool:
    """Whether float32 can tell the bins up to it from each other: not of zeros, nor of next to nothing."""
    return 0 < top < math.inf and BINS / top < float(np.finfo(np.float32).max)


# ---- extremes --------------------------------------------------------------------------------


class _Extremes(NamedTuple):
    """The scalars of one tensor in one run. ``total`` is the sum of magnitudes: NaN where one of them is,
    which the largest of several values need not be."""

    low: str
    high: str
    total: str


def _extremes(
    model: Model, tensors: Sequence[str], feeds: Iterable[Mapping[str, Array]]
) -> dict[str, Threshold]:
    proto = prepared(model.proto)
    names = Names.of(proto)
    places = {
        tensor: _Extremes(*(names.take(f"{tensor}_{p}") for p in _Extremes._fields)) for tensor in tensors
    }

    def measuring(tensor: str, plain: str) -> Iterator[NodeProto]:
        place = places[tensor]
        yield make_node("ReduceMin", [plain], [place.low], keepdims=0)
        yield make_node("ReduceMax", [plain], [place.high], keepdims=0)
        yield make_node("ReduceL1", [plain], [place.total], keepdims=0)

    _put_behind(proto, tensors, names, measuring)
    outputs = [name for place in places.values() for name in place]
    _return(proto, outputs, TensorProto.FLOAT, ())
    low, high = np.full(len(tensors), np.inf, np.float32), np.full(len(tensors), -np.inf, np.float32)
    unknown = np.zeros(len(tensors), bool)
    for values in _runs(model, proto, outputs, feeds):
        rows = np.array(values, np.float32).reshape(len(tensors), len(_Extremes._fields))
        low, high = np.minimum(low, rows[:, 0]), np.maximum(high, rows[:, 1])
        unknown |= np.isnan(rows[:, 2])
    unknown |= low > high  # it never held a value
    low, high = np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)
    largest = np.maximum(np.abs(low), np.abs(high))
    return {
        tensor: Threshold(*map(float, row))
        for tensor, row in zip(tensors, zip(low, high, largest, strict=True), strict=True)
    }


# ---- histograms ------------------------------------------------------------------------------


def _histograms(
    model: Model, tops: Mapping[str, float], feeds: Iterable[Mapping[str, Array]]
) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Of each tensor: how many elements are zero, and how many in each of ``BINS`` bins up to its top.

    A bin holds the magnitude at its end, and not that at its beginning.
    """
    model = _scattering(model)
    proto = prepared(model.proto)
    names = Names.of(proto)
    given: dict[str, Array] = {
        "none": np.zeros(BINS + 1, np.int32),
        "one": np.ones(1, np.int32),
        "last": np.array(BINS, np.float32),
        "flat": np.array([-1], np.int64),
    }
    constant = {part: names.take(f"bins_{part}") for part in given}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(v, constant[p]) for p, v in given.items())
    places = {tensor: names.take(f"{tensor}_bins") for tensor in tops}

    def measuring(tensor: str, plain: str) -> Iterator[NodeProto]:
        factor = names.take(f"{tensor}_factor")
        value = np.array(BINS / tops[tensor], np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(value, factor))

        def new(op_type: str, *inputs: str, **attributes: Any) -> NodeProto:
            return make_node(op_type, list(inputs), [names.take(f"{tensor}_{op_type.lower()}")], **attributes)

        nodes = [new("Abs", plain)]
        nodes.append(new("Mul", nodes[-1].output[0], factor))
        nodes.append(new("Ceil", nodes[-1].output[0]))
        nodes.append(new("Min", nodes[-1].output[0], constant["last"]))
        nodes.append(new("Cast", nodes[-1].output[0], to=TensorProto.INT32))
        nodes.append(new("Reshape", nodes[-1].output[0], constant["flat"]))
        bins = nodes[-1].output[0]
        nodes.append(new("Shape", bins))
        nodes.append(new("Expand", constant["one"], nodes[-1].output[0]))
        counted = [constant["none"], bins, nodes[-1].output[0]]
        nodes.append(make_node("ScatterElements", counted, [places[tensor]], axis=0, reduction="add"))
        yield from nodes

    _put_behind(proto, tuple(tops), names, measuring)
    outputs = list(places.values())
    _return(proto, outputs, TensorProto.INT32, (BINS + 1,))
    counts = np.zeros((len(tops), BINS + 1), np.int64)
    for values in _runs(model, proto, outputs, feeds) if tops else ():
        counts += np.array(values, np.int64)
    return zip(tops, counts, strict=True)


def _scattering(model: Model) -> Model:
    """The same graph, at an opset that has what counts.

    Raises:
        StepError: ``opset-mismatch``.
    """
    if model.opset >= _SCATTERS_FROM:
        return model
    made, reason = converted(model, prepared(model.proto), _SCATTERS_FROM)
    if made is None:
        said = (
            f"histograms of activations are filled at opset {_SCATTERS_FROM}, and ONNX's version converter "
            f"does not raise this graph from {model.opset}: {reason}"
        )
        hint = f"set `opset: {_SCATTERS_FROM}` or higher, or calibrate with `method: minmax`"
        raise StepError(Diagnostic("opset-mismatch", said, hint))
    return made


# ---- graphs that measure ---------------------------------------------------------------------


def _put_behind(
    proto: ModelProto,
    tensors: Sequence[str],
    names: Names,
    measuring: Callable[[str, str], Iterator[NodeProto]],
) -> None:
    """Behind each of these tensors, the nodes that measure it, given its name and that of it in float32.
    Nodes that none of them needs are gone."""
    types = tensor_types(proto)
    wanted = set(tensors)
    nodes: list[NodeProto] = []

    def measure(made: Iterable[str]) -> None:
        for tensor in made:
            if tensor not in wanted:
                continue
            wanted.remove(tensor)
            plain = tensor
            if types.get(tensor) != FLOAT:
                plain = names.take(f"{tensor}_float")
                nodes.append(make_node("Cast", [tensor], [plain], to=TensorProto.FLOAT))
            nodes.extend(measuring(tensor, plain))

    graph = proto.graph
    kept = _needed(proto, wanted)
    measure([value.name for value in graph.input] + [tensor.name for tensor in graph.initializer])
    for node in kept:
        nodes.append(node)
        measure(node.output)
    if wanted:
        raise ValueError(f"the graph makes no tensor {min(wanted)!r}")
    set_nodes(graph, nodes)


def _needed(proto: ModelProto, tensors: Iterable[str]) -> list[NodeProto]:
    """The nodes that it takes to make these tensors, in the graph's order."""
    needed, kept = set(tensors), []
    for node in reversed(proto.graph.node):
        if needed.intersection(node.output):
            needed |= reads(node)
            kept.append(node)
    return kept[::-1]


def _return(proto: ModelProto, outputs: Sequence[str], dtype: int, shape: Sequence[int]) -> None:
    del proto.graph.output[:], proto.graph.value_info[:]
    proto.graph.output.extend(make_tensor_value_info(name, dtype, shape) for name in outputs)


def _runs(
    model: Model, proto: ModelProto, outputs: Sequence[str], feeds: Iterable[Mapping[str, Array]]
) -> Iterator[list[Array]]:
    """What the graph returns for each of the feeds, one at a time."""
    used = {tensor.name for tensor in proto.graph.initializer}
    weights = {name: weight for name, weight in model.weights.items() if name in used}
    running = session(Model(proto, weights), as_written=True, threads=THREADS)
    for feed in feeds:
        yield running.run(outputs, dict(feed))
