"""In which precision a model computes, node by node."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache

from onnx import GraphProto, NodeProto, TensorProto

from modelbuild.graph.naming import bodies, label
from modelbuild.graph.ops import is_independent
from modelbuild.graph.quantization.reading import PAIRS, is_int8
from modelbuild.graph.types import CONTROL_FLOW, domain
from modelbuild.inspection.common import Info

_HALVES = frozenset({"float16", "bfloat16"})
_FLOATS = _HALVES | {"float32", "float64"}
_CASTS = frozenset({"Cast", "CastLike"})
# These compute nothing: what they carry or hold does. Bodies of control flow are looked into.
_CARRIERS = CONTROL_FLOW | {"Constant"}


_TYPELESS = _CASTS | _CARRIERS | PAIRS
# What is int8 by its operator.
_WHOLE = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
_BYTES = frozenset({"int8", "uint8"})


@dataclass(frozen=True, slots=True)
class SeenNode:
    """A node, its operator with the domain that is not ONNX's own, the types of its inputs and outputs,
    whether it works on shapes and constants alone, and whether it multiplies int8."""

    node: NodeProto
    op_type: str
    takes: tuple[str, ...]
    makes: tuple[str, ...]
    independent: bool
    is_int8: bool = False

    @property
    def dtype(self) -> str:
        """The type of the first output that has one."""
        for name in self.makes:
            if name != "unknown":
                return name
        return "unknown"

    @property
    def computes(self) -> str | None:
        """The float type that a node computes in, or int8; None if it computes neither.

        Its outputs tell; where none is a float (ArgMax, Greater), what it looks at first.
        """
        if self.is_int8:
            return "int8"
        if self.independent or self.op_type in _TYPELESS:
            return None
        for name in (*self.makes, *self.takes[:1]):
            if name in _FLOATS:
                return name
        return None


@cache
def dtype_name(elem_type: int) -> str:
    """``float32`` for FLOAT; a type that this onnx does not know keeps its number."""
    try:
        name = str(TensorProto.DataType.Name(elem_type))
    except ValueError:
        return f"type {elem_type}"
    common = {"FLOAT": "float32", "DOUBLE": "float64", "UNDEFINED": "unknown"}
    return common.get(name, name.lower())


def walk(
    graph: GraphProto,
    outer: Mapping[str, int] | None = None,
    fixed: Collection[str] = (),
    pairs: Collection[str] = (),
) -> Iterator[SeenNode]:
    """Every node of a graph with inferred types, those of its bodies too.

    ``outer`` are the types of what a body sees around it, ``fixed`` names that of it which follows
    from shapes and constants alone, ``pairs`` what of it is dequantized.
    """
    types: MutableMapping[str, int] = ChainMap({}, outer) if outer else {}  # type: ignore[arg-type]
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    independent = set(fixed).difference(value.name for value in graph.input)
    for tensor in graph.initializer:
        types[tensor.name] = tensor.data_type
        independent.add(tensor.name)
    dequantized = set(pairs).difference(value.name for value in graph.input)
    for node in graph.node:
        alone = is_independent(node, independent)
        made = tuple(node.output)
        independent.difference_update(made)  # a body may reuse a name from around it
        if alone:
            independent.update(made)
        where = domain(node)
        op_type = f"{where}.{node.op_type}" if where else node.op_type
        takes = _names(node.input, types)
        if op_type == "DequantizeLinear" and takes[:1] and takes[0] in _BYTES:
            dequantized.update(made)
        whole = op_type in _WHOLE or (op_type not in _TYPELESS and is_int8(node, dequantized))
        yield SeenNode(node, op_type, takes, _names(made, types), alone, whole)
        if node.attribute:
            for body in bodies(node):
                yield from walk(body, types, independent, dequantized)


def _names(tensors: Iterable[str], types: Mapping[str, int]) -> tuple[str, ...]:
    return tuple([dtype_name(types.get(name, 0)) for name in tensors if name])


def halves(seen: Iterable[SeenNode], weights: Mapping[str, Info]) -> Info:
    """How much of a model is half, what is kept out of it, and the Casts.

    ``half`` is None, and nothing is kept, where no node computes in half precision. ``weights`` are
    tensors and bytes by type.
    """
    every = tuple(seen)
    computing = [(s, dtype) for s in every if (dtype := s.computes)]
    nodes = Counter(dtype for _, dtype in computing if dtype)
    nbytes = {dtype: int(found["bytes"]) for dtype, found in weights.items()}
    half = any(dtype in _HALVES for dtype in nodes)
    kept = [s for s, dtype in computing if half and dtype == "float32"]
    return {
        "half": {"nodes": _share(nodes), "weight_bytes": _share(nbytes)} if half else None,
        "kept_nodes": [{"name": label(s.node), "op_type": s.op_type} for s in kept],
        "casts": most_first(Counter(_cast(s) for s in every if s.op_type in _CASTS)),
    }


def _share(amounts: Mapping[str, int]) -> Info:
    """How much of what is floats is half floats."""
    half = sum(amount for dtype, amount in amounts.items() if dtype in _HALVES)
    every = sum(amount for dtype, amount in amounts.items() if dtype in _FLOATS)
    return {"half": half, "all": every, "share": half / every if every else None}


def _cast(seen: SeenNode) -> str:
    source, target = (*seen.takes, "unknown")[0], (*seen.makes, "unknown")[0]
    return f"{source} -> {target}"


def most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
