"""Where a half precision graph leaves the range of its type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto

from modelbuild.graph.files import Array, Model, numpy_dtype
from modelbuild.graph.naming import Names, label, prepared
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulation
from modelbuild.graph.types import FLOAT, HALF_TYPES, tensor_types

_SAYS_SO = frozenset({"Constant", "ConstantOfShape"})  # an infinity written into the model


@dataclass(frozen=True)
class Overflow:
    """A node that makes a non-finite value from finite ones.

    ``largest`` is the largest magnitude of its output before rounding to half, where it is stored
    in half; infinite if float32 does not hold it either, or if it is not a number.
    """

    node: str
    op_type: str
    tensor: str
    largest: float


def overflow_report(model: Model, feeds: Mapping[str, Array]) -> list[Overflow]:
    """The nodes at which values stop being finite, in the graph's order; empty if all stay finite.

    ``feeds`` are arrays of the types of the model's inputs. Nodes inside an If, Loop or Scan are
    reported as the node that carries them. BERT-base at batch 1, sequence 16 takes 2.5 s, nearly all
    of it the making of the session.
    """
    proto = prepared(model.proto)
    types = tensor_types(proto)
    made = [name for node in proto.graph.node for name in node.output]
    floats = [n for n in made if types.get(n) == FLOAT or types.get(n) in HALF_TYPES]
    largest = _largest(model, floats, feeds)
    infinite = _infinite_inputs(model, proto, feeds)
    found: list[Overflow] = []
    for node in proto.graph.node:
        bad = [n for n in node.output if n in largest and not _holds(types[n], largest[n])]
        infinite.update(bad)
        if bad and node.op_type not in _SAYS_SO and infinite.isdisjoint(node.input):
            found.append(Overflow(label(node), node.op_type, bad[0], largest[bad[0]]))
    return found


def _holds(type_: str, magnitude: float) -> bool:
    """Whether a type holds values up to this magnitude; minus infinity is that of no values."""
    if magnitude < 0:
        return True
    with np.errstate(over="ignore"):
        stored = np.float32(magnitude).astype(numpy_dtype(HALF_TYPES.get(type_, TensorProto.FLOAT)))
    return bool(np.isfinite(stored.astype(np.float32)))


def _infinite_inputs(model: Model, proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> set[str]:
    """Inputs and weights with a value that is not finite to begin with, as masks have."""
    floats = {TensorProto.FLOAT, *HALF_TYPES.values()}
    given = {t.name: t for t in proto.graph.initializer if t.data_type in floats}
    infinite = {name for name, tensor in given.items() if not _finite(model.array(tensor))}
    return infinite | {name for name, array in feeds.items() if not _finite(array)}


def _finite(array: Array) -> bool:
    return array.dtype.kind in "iub" or bool(np.isfinite(array.astype(np.float32)).all())


def _largest(model: Model, tensors: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, float]:
    """The largest magnitude, before rounding, of each of these tensors of the main graph.

    Infinite for a tensor with NaN in it, minus infinity for one without elements. The maxima are
    taken inside the graph, so that no more tensors are alive than in any other run.
    """
    simulated = simulation(model)
    proto = simulated.model.proto
    names = Names.of(proto)
    infinity = names.take("infinity")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(np.inf, np.float32), infinity))
    outputs: dict[str, str] = {}
    for name in tensors:
        source = simulated.before.get(name, simulated.after.get(name, name))
        nodes = list(_maximum(source, infinity, names))
        proto.graph.node.extend(nodes)
        outputs[name] = nodes[-1].output[0]
        proto.graph.output.append(ValueInfoProto(name=outputs[name]))
    found = session(simulated.model).run(list(outputs.values()), dict(feeds))
    return dict(zip(outputs, map(float, found), strict=True))


def _maximum(source: str, infinity: str, names: Names) -> Iterator[NodeProto]:
    """Nodes of which the last makes max(|source|), infinity where there is a NaN."""
    plain, nan, size, known, largest = (
        names.take(f"{source}_{part}") for part in ("float", "nan", "size", "known", "largest")
    )
    yield onnx.helper.make_node("Cast", [source], [plain], to=TensorProto.FLOAT)
    yield onnx.helper.make_node("IsNaN", [plain], [nan])
    yield onnx.helper.make_node("Abs", [plain], [size])
    yield onnx.helper.make_node("Where", [nan, infinity, size], [known])
    yield onnx.helper.make_node("ReduceMax", [known], [largest], keepdims=0)
